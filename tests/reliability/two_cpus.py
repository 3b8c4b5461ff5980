"""`covidcxr` with the processor taken for two devices: ``python two_cpus.py train KEY --strategy mirrored ...``."""

import sys

if __name__ == "__main__":
    from covidcxr.cli.console import quiet_tensorflow

    quiet_tensorflow()
    import tensorflow as tf

    devices = [tf.config.LogicalDeviceConfiguration()] * 2
    tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], devices)
    from covidcxr.cli import main

    sys.exit(main(sys.argv[1:]))
