"""A page on this machine that predicts videos: the app, what guards it, uploads, and the server."""
