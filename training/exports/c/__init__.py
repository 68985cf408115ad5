"""A bundle as one C file and a header: no dependencies but the C library, no allocation, any number of threads.

Three things of the serving graph become code of our own, because they are simpler and more exact that way: texts
(emx-onnx-cgen copies them into buffers of fixed width and compiles regular expressions into static variables), lookups
by key (it compares with every key) and trees (it has no float64 ensemble that adds as ONNX Runtime does, nor NaN at a
split). Everything else goes through emx-onnx-cgen, after the operators that it lacks were rewritten into core ones.
"""
