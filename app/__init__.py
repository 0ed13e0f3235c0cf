"""The page in a browser, for people who do not program: images of an emotion, and the emotion of images."""
