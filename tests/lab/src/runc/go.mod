module sentinel/lab/runc

go 1.22
