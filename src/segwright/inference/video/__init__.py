"""Segmenting videos: read, predict, steady and draw frame by frame, write; reading and writing go on meanwhile."""
