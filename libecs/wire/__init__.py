"""What processes say to each other: messages as classes, and their bytes."""
