// Package restore fetches a build's cache before its box starts: `boxkit restore`, run by the init container.
//
// It never fails a build. Whatever goes wrong, the directory is empty afterwards and the report says why.
package restore

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"sentinel.wercker.com/boxkit/internal/cache"
	"sentinel.wercker.com/boxkit/internal/store"
)

// Task is what to restore and where to, as JSON on stdin.
type Task struct {
	URLFile string  `json:"urlFile"` // holds the presigned URL, which is a secret
	Dest    string  `json:"dest"`
	State   string  `json:"state"` // the directory for report and index
	Bytes   int64   `json:"bytes"` // of the files, at most
	Entries int     `json:"entries"`
	CA      string  `json:"ca"`      // PEM, besides the system's
	Proxy   string  `json:"proxy"`   // URL of the proxy to the store, or ""
	Seconds float64 `json:"seconds"` // for all of it
}

// What became of it.
const (
	Hit     = "Hit"
	Miss    = "Miss"    // there is none
	Invalid = "Invalid" // there is one that cannot be used
	Failed  = "Failed"  // it was not fetched
)

// Report says what became of it. It is Name in the state's directory; a Hit has its index beside it.
type Report struct {
	State   string  `json:"state"`
	Bytes   int64   `json:"bytes"` // of the archive
	Size    int64   `json:"size"`  // of the files
	Files   int     `json:"files"`
	Seconds float64 `json:"seconds"`
	Text    string  `json:"text"`
}

// Files in the state's directory.
const (
	Name  = "cache.json"
	Index = "cache.index"
)

const (
	tries   = 3
	stalled = 30 * time.Second // without a byte
)

var firstPause = 500 * time.Millisecond // a test has less

// Run restores what the task on `in` says. Its error means that not even a report could be written.
func Run(in io.Reader, log io.Writer) error {
	var task Task
	if err := json.NewDecoder(in).Decode(&task); err != nil {
		return fmt.Errorf("a task that cannot be read: %w", err)
	}
	report := task.restore()
	text, err := json.Marshal(report)
	if err != nil {
		return err
	}
	fmt.Fprintf(log, "cache: %s\n", report)
	return os.WriteFile(filepath.Join(task.State, Name), text, 0o644)
}

func (r Report) String() string {
	if r.State == Hit {
		return fmt.Sprintf("restored %s of %s in %.1f s", cache.Files(r.Files), cache.Size(r.Size), r.Seconds)
	}
	return fmt.Sprintf("starts empty (%s): %s", r.State, r.Text)
}

func (t Task) restore() Report {
	began := time.Now()
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(t.Seconds*float64(time.Second)))
	defer cancel()
	var report Report
	for try, pause := 1, firstPause; ; try, pause = try+1, 2*pause {
		var err error
		if report, err = t.once(ctx); err == nil {
			break
		}
		report = judge(err)
		var again *passing
		if try == tries || !errors.As(err, &again) || ctx.Err() != nil {
			break
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
	}
	if ctx.Err() != nil && report.State != Hit {
		report = Report{State: Failed, Text: fmt.Sprintf("it was not restored within %.0f s", t.Seconds)}
	}
	report.Seconds = time.Since(began).Seconds()
	if report.State != Hit {
		_ = wipe(t.Dest)
		_ = wipe(t.Dest + ".new")
		_ = os.Remove(filepath.Join(t.State, Index))
	}
	_ = os.MkdirAll(t.Dest, 0o755)
	return report
}

// passing wraps what another try may mend.
type passing struct{ error }

func (p *passing) Unwrap() error { return p.error }

// answered is an answer other than the object.
type answered struct {
	status int
	text   string
}

func (a *answered) Error() string {
	return strings.TrimSpace(fmt.Sprintf("HTTP %d %s", a.status, a.text))
}

func judge(err error) Report {
	var answer *answered
	switch {
	case errors.As(err, &answer) && answer.status == http.StatusNotFound, errors.Is(err, fs.ErrNotExist):
		return Report{State: Miss, Text: "there is none any more"}
	case errors.As(err, &answer) && answer.status == http.StatusForbidden:
		return Report{State: Failed, Text: "access was denied, or the URL expired before the pod started: " + answer.Error()}
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return Report{State: Failed, Text: "the node's disk is full"}
	case errors.As(err, new(*passing)), answer != nil:
		return Report{State: Failed, Text: err.Error()}
	}
	return Report{State: Invalid, Text: err.Error()}
}

// once is one try: nothing of an earlier one may be left.
func (t Task) once(ctx context.Context) (Report, error) {
	url, err := os.ReadFile(t.URLFile)
	if err != nil {
		return Report{}, err
	}
	fresh := t.Dest + ".new"
	for _, path := range []string{t.Dest, fresh} {
		if err := wipe(path); err != nil {
			return Report{}, err
		}
	}
	defer func() { _ = wipe(fresh) }()
	if err := os.MkdirAll(fresh, 0o755); err != nil {
		return Report{}, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	body, err := t.get(ctx, cancel, strings.TrimSpace(string(url)))
	if err != nil {
		return Report{}, err
	}
	defer body.Close()
	tree, err := cache.Unpack(ctx, body, fresh, cache.Limits{Bytes: t.Bytes, Entries: t.Entries}, true)
	if err == nil && len(tree.Entries) == 0 {
		err = fmt.Errorf("%w: it is empty", cache.ErrInvalid) // an empty cache is never stored
	}
	if err = body.end(err); err != nil {
		return Report{}, err
	}
	index, err := os.Create(filepath.Join(t.State, Index))
	if err != nil {
		return Report{}, err
	}
	if err := errors.Join(cache.WriteIndex(index, tree), index.Chmod(0o644), index.Close()); err != nil {
		return Report{}, err
	}
	// The fetching of the source makes the directory meanwhile. os.Rename replaces none, not even an empty one.
	if err := syscall.Rename(fresh, t.Dest); err != nil {
		return Report{}, &os.LinkError{Op: "rename", Old: fresh, New: t.Dest, Err: err}
	}
	return Report{State: Hit, Bytes: body.read, Size: tree.Bytes, Files: tree.Files()}, nil
}

// object is what the store sends, counted and summed up.
type object struct {
	io.ReadCloser
	cancel context.CancelFunc
	idle   *time.Timer
	sum    hash.Hash
	read   int64
	length int64
	want   string
	failed error // of the connection
}

func (t Task) get(ctx context.Context, cancel context.CancelFunc, url string) (*object, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, &answered{text: "the URL cannot be used"}
	}
	request.Header.Set("Accept-Encoding", "identity")
	response, err := store.NewClient("", t.CA, t.Proxy).Do(request)
	if err != nil {
		return nil, &passing{store.WithoutURL(err)}
	}
	if response.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(response.Body, 256))
		response.Body.Close()
		answer := &answered{response.StatusCode, strings.TrimSpace(string(text))}
		if response.StatusCode >= 500 || response.StatusCode == http.StatusTooManyRequests {
			return nil, &passing{answer}
		}
		return nil, answer
	}
	return &object{
		ReadCloser: response.Body, cancel: cancel, idle: time.AfterFunc(stalled, cancel), sum: sha256.New(),
		length: response.ContentLength, want: response.Header.Get("X-Amz-Meta-Sha256"),
	}, nil
}

func (o *object) Read(p []byte) (int, error) {
	n, err := o.ReadCloser.Read(p)
	o.idle.Reset(stalled)
	o.sum.Write(p[:n])
	o.read += int64(n)
	if err != nil && err != io.EOF {
		o.failed = err
	}
	return n, err
}

func (o *object) Close() error {
	o.idle.Stop()
	return o.ReadCloser.Close()
}

// end says whether the object was whole and what was stored. `err` is how unpacking it ended.
func (o *object) end(err error) error {
	if err == nil {
		_, err = io.Copy(io.Discard, io.LimitReader(o, 1<<20)) // what follows the archive: nothing, but for its checksum
	}
	cut := o.failed != nil || o.length >= 0 && o.read < o.length && errors.Is(err, io.ErrUnexpectedEOF)
	switch {
	case cut && errors.Is(err, context.Canceled):
		return &passing{fmt.Errorf("the store sent nothing for %s", stalled)}
	case cut:
		return &passing{fmt.Errorf("the connection to the store broke after %d of %d bytes", o.read, o.length)}
	case err != nil:
		return err
	case o.length >= 0 && o.read != o.length:
		return fmt.Errorf("%w: it goes on after its end", cache.ErrInvalid)
	case o.want != "" && o.want != hex.EncodeToString(o.sum.Sum(nil)):
		return fmt.Errorf("%w: its sha256 is not the one that it was stored with", cache.ErrInvalid)
	}
	return nil
}

// wipe removes a tree, also what of it its owner may not write.
func wipe(path string) error {
	err := os.RemoveAll(path)
	if err == nil || !errors.Is(err, fs.ErrPermission) {
		return err
	}
	_ = filepath.WalkDir(path, func(inner string, entry fs.DirEntry, err error) error {
		if entry != nil && entry.IsDir() {
			_ = os.Chmod(inner, 0o700)
		}
		return nil
	})
	return os.RemoveAll(path)
}
