// A busy machine, and a long file, need more than the 30 s that tap gives a test.
process.env.TAP_TIMEOUT ??= '600'
