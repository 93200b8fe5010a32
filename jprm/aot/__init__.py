"""This room compiles programs ahead of time, for a slice of TPUs that is not here.

XLA's compiler for TPU runs on any machine with libtpu (extra `tpu`); no TPU is needed. So what a run needs on a pod
(memory of a device, bytes between devices, bounds on its speed) is known before the pod is paid for. Enter by
`open_slice(name)`, give it to `training_program` or `decoding_programs`, and call `compiled` on what they return.

Nothing here runs a program: all arrays are shapes.
"""
