"""Understanding: questions about the emotion of images, rewards for the answers, and GRPO on both."""
