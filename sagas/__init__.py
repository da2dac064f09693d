"""Business processes that outlive one command. They come with stock, orders and payments."""
