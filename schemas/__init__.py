"""The vocabulary: taxonomy packs, metric dictionary, wire format, topics, reasons, errors. Depends on nothing here."""
