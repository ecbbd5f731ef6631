"""Networks: encoders turn a modality into tokens, adapters give tokens a place, fusion makes one vector of them."""
