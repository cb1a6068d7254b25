"""The life of models in TensorFlow Serving's words: a Source aspires, a Loader loads, a Manager serves."""
