"""The images of every data set, from whichever source is there."""
