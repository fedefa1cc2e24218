"""Reference audio: a clip per reference, cut out of what a web page plays; what cannot be had is named, with the reason."""
