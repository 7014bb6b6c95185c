SELECT stamp FROM provenance
