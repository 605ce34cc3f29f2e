module sentinel.wercker.com/boxkit

go 1.25

require github.com/klauspost/compress v1.18.0
