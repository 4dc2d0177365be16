"""An oracle for the real `readout-dataflow`, made from the templates and the specification alone."""
