//! The decisions of the OAuth RFCs, without HTTP.
