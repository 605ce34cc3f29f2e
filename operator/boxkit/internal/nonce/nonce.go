// Package nonce makes names that nobody can guess.
package nonce

import (
	"crypto/rand"
	"encoding/hex"
)

// New is a name that nobody in the box can guess.
func New() string {
	var b [12]byte
	_, _ = rand.Read(b[:])
	return hex.EncodeToString(b[:])
}
