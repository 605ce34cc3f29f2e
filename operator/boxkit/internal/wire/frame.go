// Package wire has the protocol of README.md: frames, messages both ways, and the journal's records. No I/O but reading
// frames from a stream.
package wire

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
)

const (
	// The versions of the protocol that this boxkit speaks. A change that an older operator cannot ignore raises the
	// maximum; the minimum follows once no supported operator is that old.
	ProtocolMin = 1
	ProtocolMax = 1

	maxFrame   = 1 << 20  // type and payload of one frame
	maxMessage = 16 << 20 // one JSON message over all its parts
	LogChunk   = 64 << 10 // log bytes in one frame

	frameJSON = 'J'
	framePart = 'P'
	frameLog  = 'L'
)

// ProtocolError is what the other side did wrong; it ends the connection.
type ProtocolError string

func (e ProtocolError) Error() string { return string(e) }

// Reader turns a byte stream into JSON messages.
type Reader struct {
	r *bufio.Reader
}

func NewReader(r io.Reader) *Reader {
	return &Reader{r: bufio.NewReaderSize(r, 32<<10)}
}

// Next returns the next whole message. A protocolError means nonsense, anything else a broken stream.
func (f *Reader) Next() ([]byte, error) {
	var message []byte
	for {
		var head [5]byte
		if _, err := io.ReadFull(f.r, head[:]); err != nil {
			return nil, err
		}
		length := binary.BigEndian.Uint32(head[:4])
		if length < 1 || length > maxFrame {
			return nil, ProtocolError(fmt.Sprintf("a frame of %d bytes; 1 to %d are allowed", length, maxFrame))
		}
		kind := head[4]
		if kind != frameJSON && kind != framePart {
			return nil, ProtocolError(fmt.Sprintf("a frame of type %#02x; J and P are understood", kind))
		}
		n := int(length) - 1
		if len(message)+n > maxMessage {
			return nil, ProtocolError(fmt.Sprintf("a message of more than %d bytes", maxMessage))
		}
		at := len(message)
		message = append(message, make([]byte, n)...)
		if _, err := io.ReadFull(f.r, message[at:]); err != nil {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
		if kind == frameJSON {
			return message, nil
		}
	}
}

func appendFrame(out []byte, kind byte, payload []byte) []byte {
	out = binary.BigEndian.AppendUint32(out, uint32(len(payload)+1))
	out = append(out, kind)
	return append(out, payload...)
}

// AppendMessage frames one encoded JSON message, in parts where it is too long for a frame.
func AppendMessage(out, message []byte) []byte {
	for len(message) > maxFrame-1 {
		out = appendFrame(out, framePart, message[:maxFrame-1])
		message = message[maxFrame-1:]
	}
	return appendFrame(out, frameJSON, message)
}

// Encode frames a value as a JSON message. Our own types always marshal.
func Encode(v any) []byte {
	text, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("boxkit: cannot encode %T: %v", v, err))
	}
	return AppendMessage(nil, text)
}

func AppendLog(out []byte, ordinal int, offset int64, data []byte) []byte {
	out = binary.BigEndian.AppendUint32(out, uint32(1+4+8+len(data)))
	out = append(out, frameLog)
	out = binary.BigEndian.AppendUint32(out, uint32(ordinal))
	out = binary.BigEndian.AppendUint64(out, uint64(offset))
	return append(out, data...)
}
