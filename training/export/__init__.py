"""Write a trained model as ONNX: `python -m training export RUN_DIR`, with an ExportSpec in RUN_DIR/spec.json.

Out comes RUN_DIR/export/: the network cut where its modalities meet, one encoder-NAME.onnx each and fusion.onnx, in every
precision of the spec; the same in one piece, model.onnx; tokenizer.json for models with text; golden.npz; and, last of
all, manifest.json. Before it is written, ONNX Runtime's answers are compared with torch's for several batch sizes, lengths
of texts and sequences, and every subset of modalities; those of other precisions with fp32's; and it is measured what
embeddings of some of the modalities are worth.
"""

from training.export.job import work

__all__ = ["work"]
