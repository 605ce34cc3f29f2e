// Package nonce makes names that cannot be guessed.
package nonce

import (
	"crypto/rand"
	"encoding/hex"
)

// New is a name that cannot be guessed in the box.
func New() string {
	var b [12]byte
	_, _ = rand.Read(b[:])
	return hex.EncodeToString(b[:])
}
