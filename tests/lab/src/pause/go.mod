module sentinel/lab/pause

go 1.22
