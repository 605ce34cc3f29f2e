package wire

import (
	"encoding/json"
	"fmt"
)

// What boxkit sends, besides records and log bytes.

type Welcome struct {
	Type      string `json:"type"`
	Protocol  int    `json:"protocol"` // agreed on for this connection
	Protocols Range  `json:"protocols"`
	Version   string `json:"version"`
	Seq       int64  `json:"seq"`
	Build     string `json:"build"`
	Attempt   int    `json:"attempt"`
}

type OK struct {
	Type string `json:"type"`
	ID   int64  `json:"id"`
}

type Environment struct {
	Type string      `json:"type"`
	ID   int64       `json:"id"`
	Env  [][2]string `json:"env"`
}

type Error struct {
	Type string `json:"type"`
	ID   int64  `json:"id"`
	Code string `json:"code"`
	Text string `json:"text"`
}

type Beat struct {
	Type string `json:"type"`
	N    int64  `json:"n"`
}

// Refusal is a request that boxkit does not carry out; its state is unchanged.
type Refusal struct {
	Code string
	Text string
}

func (r *Refusal) Error() string { return r.Code + ": " + r.Text }

func Refuse(code, format string, args ...any) *Refusal {
	return &Refusal{Code: code, Text: fmt.Sprintf(format, args...)}
}

func Decode(message []byte, into any) error {
	if err := json.Unmarshal(message, into); err != nil {
		return Refuse("InvalidRequest", "%v", err)
	}
	return nil
}
