"""What measures share: prepared once per representation, and met once per pair."""
