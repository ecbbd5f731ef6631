"""What people brought: single images, uploads on their way to become a dataset, registered datasets and their samples."""
