"""Networks trained before a defense is: S-CNN, DBCNN's second branch."""
