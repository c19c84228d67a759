"""LArPix: words of the chips, rows of files, configurations, messages of larpix-daq and Bern servers."""
