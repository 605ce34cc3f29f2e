module sentinel/lab/node

go 1.22
