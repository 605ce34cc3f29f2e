module sentinel.wercker.com/boxkit

go 1.25
