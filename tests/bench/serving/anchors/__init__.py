"""The same model behind other people's servers, each one file as its documentation would have it. They run in a virtual
environment of their own, with this repository on the path for `anchors.model` alone."""
