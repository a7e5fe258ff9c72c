//! Connections to requests as a tower layer over hyper-util, with every limit stated.
