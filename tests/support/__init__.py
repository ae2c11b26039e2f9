"""What tests are made of: a real server, a real client, values."""
