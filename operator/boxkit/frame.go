package main

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
	protocolMin = 1
	protocolMax = 1

	maxFrame   = 1 << 20  // type and payload of one frame
	maxMessage = 16 << 20 // one JSON message over all its parts
	logChunk   = 64 << 10 // log bytes in one frame

	frameJSON = 'J'
	framePart = 'P'
	frameLog  = 'L'
)

// protocolError is what the other side did wrong; it ends the connection.
type protocolError string

func (e protocolError) Error() string { return string(e) }

// frameReader turns a byte stream into JSON messages.
type frameReader struct {
	r *bufio.Reader
}

func newFrameReader(r io.Reader) *frameReader {
	return &frameReader{r: bufio.NewReaderSize(r, 32<<10)}
}

// next returns the next whole message. A protocolError means nonsense, anything else a broken stream.
func (f *frameReader) next() ([]byte, error) {
	var message []byte
	for {
		var head [5]byte
		if _, err := io.ReadFull(f.r, head[:]); err != nil {
			return nil, err
		}
		length := binary.BigEndian.Uint32(head[:4])
		if length < 1 || length > maxFrame {
			return nil, protocolError(fmt.Sprintf("a frame of %d bytes; 1 to %d are allowed", length, maxFrame))
		}
		kind := head[4]
		if kind != frameJSON && kind != framePart {
			return nil, protocolError(fmt.Sprintf("a frame of type %#02x; J and P are understood", kind))
		}
		n := int(length) - 1
		if len(message)+n > maxMessage {
			return nil, protocolError(fmt.Sprintf("a message of more than %d bytes", maxMessage))
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

// appendMessage frames one encoded JSON message, in parts where it is too long for a frame.
func appendMessage(out, message []byte) []byte {
	for len(message) > maxFrame-1 {
		out = appendFrame(out, framePart, message[:maxFrame-1])
		message = message[maxFrame-1:]
	}
	return appendFrame(out, frameJSON, message)
}

// encode frames a value as a JSON message. Our own types always marshal.
func encode(v any) []byte {
	text, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("boxkit: cannot encode %T: %v", v, err))
	}
	return appendMessage(nil, text)
}

func appendLog(out []byte, ordinal int, offset int64, data []byte) []byte {
	out = binary.BigEndian.AppendUint32(out, uint32(1+4+8+len(data)))
	out = append(out, frameLog)
	out = binary.BigEndian.AppendUint32(out, uint32(ordinal))
	out = binary.BigEndian.AppendUint64(out, uint64(offset))
	return append(out, data...)
}
