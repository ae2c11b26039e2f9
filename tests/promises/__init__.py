"""The promises of DESIGN section 6, each with the test that fails where it is broken."""
