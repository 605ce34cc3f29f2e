package shell

import (
	"bytes"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Answer is what a shell says on the FIFO.
type Answer struct {
	Kind   byte // B: the driver runs; S: it ended; X: the shell ends
	nonce  string
	Status int
	Flags  string
	Dump   []byte // `export -p`
	At     time.Time
}

// answers parses the FIFO. Anybody in the box may write to it: what does not carry a nonce that is waited for is noise.
type answers struct {
	mu     sync.Mutex
	nonces map[string]bool
	buffer []byte
	since  time.Time // when the answer that is being read began: the dump behind it takes a while
	Out    chan Answer
}

const answerRoom = 8 << 20

func newAnswers() *answers {
	return &answers{nonces: map[string]bool{}, Out: make(chan Answer, 64)}
}

func (a *answers) Expect(nonces ...string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	clear(a.nonces)
	for _, nonce := range nonces {
		a.nonces[nonce] = true
	}
	a.buffer, a.since = nil, time.Time{}
	for {
		select {
		case <-a.Out: // of a step that is over
			continue
		default:
		}
		return
	}
}

// take is called by the FIFO's source.
func (a *answers) take(data []byte) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.buffer = append(a.buffer, data...)
	for a.parse() {
	}
	if len(a.buffer) > answerRoom {
		a.buffer = nil
	}
}

// parse takes the first whole answer out of the buffer.
func (a *answers) parse() bool {
	at, nonce := -1, ""
	for each := range a.nonces {
		// Two bytes before the nonce say what it is: "B ", "S " or "X ".
		from := 0
		for {
			i := bytes.Index(a.buffer[from:], []byte(each))
			if i < 0 {
				break
			}
			i += from
			if i >= 2 && a.buffer[i-1] == ' ' && bytes.IndexByte([]byte("BSX"), a.buffer[i-2]) >= 0 {
				if at < 0 || i < at {
					at, nonce = i, each
				}
				break
			}
			from = i + len(each)
		}
	}
	if at < 0 {
		return false
	}
	kind := a.buffer[at-2]
	line := bytes.IndexByte(a.buffer[at:], '\n')
	if line < 0 {
		return false
	}
	if a.since.IsZero() {
		a.since = time.Now()
	}
	words := strings.Fields(string(a.buffer[at+len(nonce) : at+line]))
	body := a.buffer[at+line+1:]
	found := Answer{Kind: kind, nonce: nonce, At: a.since}
	if kind != 'B' {
		end := []byte("E " + nonce + "\n")
		stop := bytes.Index(body, end)
		if stop < 0 {
			return false
		}
		found.Dump = bytes.Clone(body[:stop])
		body = body[stop+len(end):]
	}
	if kind == 'S' {
		status, err := strconv.Atoi(strings.Join(words[:min(1, len(words))], ""))
		if err != nil {
			status = 255
		}
		found.Status = status
		found.Flags = strings.Join(words[min(1, len(words)):], "")
	}
	a.buffer = bytes.Clone(body)
	a.since = time.Time{}
	select {
	case a.Out <- found:
	default: // nobody can have this many answers due
	}
	return true
}
