"""Lists as data sets publish them, one data set a module."""
