package shell

import (
	"bytes"
	"strconv"
	"strings"
	"sync"
	"time"
)

// answerKind is the letter with which an answer begins.
type answerKind byte

const (
	driverBegan answerKind = 'B'
	driverEnded answerKind = 'S'
	shellEnds   answerKind = 'X'
)

// answer is what a shell writes to the FIFO.
type answer struct {
	kind   answerKind
	nonce  string
	status int
	flags  string
	dump   []byte // `export -p`
	at     time.Time
}

// answers parses the FIFO. Anybody in the box may write to it: what does not carry a nonce that is waited for is noise.
type answers struct {
	mu     sync.Mutex
	nonces map[string]bool
	buffer []byte
	since  time.Time // when the answer that is being read began: the dump behind it takes a while
	out    chan answer
}

const answerRoom = 8 << 20

func newAnswers() *answers {
	return &answers{nonces: map[string]bool{}, out: make(chan answer, 64)}
}

func (a *answers) expect(nonces ...string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	clear(a.nonces)
	for _, nonce := range nonces {
		a.nonces[nonce] = true
	}
	a.buffer, a.since = nil, time.Time{}
	for {
		select {
		case <-a.out: // of a step that is over
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
	kind := answerKind(a.buffer[at-2])
	line := bytes.IndexByte(a.buffer[at:], '\n')
	if line < 0 {
		return false
	}
	if a.since.IsZero() {
		a.since = time.Now()
	}
	words := strings.Fields(string(a.buffer[at+len(nonce) : at+line]))
	body := a.buffer[at+line+1:]
	found := answer{kind: kind, nonce: nonce, at: a.since}
	if kind != driverBegan {
		end := []byte("E " + nonce + "\n")
		stop := bytes.Index(body, end)
		if stop < 0 {
			return false
		}
		found.dump = bytes.Clone(body[:stop])
		body = body[stop+len(end):]
	}
	if kind == driverEnded {
		status, err := strconv.Atoi(strings.Join(words[:min(1, len(words))], ""))
		if err != nil {
			status = 255
		}
		found.status = status
		found.flags = strings.Join(words[min(1, len(words)):], "")
	}
	a.buffer = bytes.Clone(body)
	a.since = time.Time{}
	select {
	case a.out <- found:
	default: // there cannot be this many answers due
	}
	return true
}
