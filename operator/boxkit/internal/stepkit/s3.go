package stepkit

import (
	"context"
	"crypto/hmac"
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"io/fs"
	"mime"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"time"
)

// What `boxkit s3sync` makes equal: the objects below a prefix of a bucket, and the files below a directory.
type syncJob struct {
	Directory     string            `json:"directory"`
	Bucket        string            `json:"bucket"`
	Prefix        string            `json:"prefix"` // "" or with a slash at its end
	Endpoint      string            `json:"endpoint"`
	Region        string            `json:"region"`
	KeyID         string            `json:"keyId"`
	KeySecret     string            `json:"keySecret"`
	SessionToken  string            `json:"sessionToken"`
	DeleteRemoved bool              `json:"deleteRemoved"`
	DryRun        bool              `json:"dryRun"`
	Exclude       []string          `json:"exclude"` // patterns of path.Match, of the whole relative path or its last part
	Headers       map[string]string `json:"headers"` // of each upload
}

type object struct {
	Key  string `xml:"Key"`
	ETag string `xml:"ETag"`
	Size int64  `xml:"Size"`
}

// runS3Sync reads a syncJob as JSON on standard input, and prints a line for each change.
func runS3Sync(args []string, kit string, in io.Reader, out io.Writer) (int, error) {
	var job syncJob
	if len(args) > 0 {
		return codeUsage, fmt.Errorf("usage: %s", Usage)
	}
	if err := json.NewDecoder(io.LimitReader(in, requestLimit)).Decode(&job); err != nil {
		return codeUsage, fmt.Errorf("the job is not JSON: %w", err)
	}
	if job.Region == "" {
		job.Region = "us-east-1"
	}
	if job.Endpoint == "" {
		job.Endpoint = "https://s3." + job.Region + ".amazonaws.com"
	}
	return 0, job.run(&s3{job: job, client: client(kit)}, out)
}

func (j syncJob) run(store *s3, out io.Writer) error {
	files, err := j.files()
	if err != nil {
		return err
	}
	there, err := store.list()
	if err != nil {
		return err
	}
	var sent, deleted int
	for _, name := range files {
		key := j.Prefix + name
		file := filepath.Join(j.Directory, filepath.FromSlash(name))
		old, exists := there[key]
		delete(there, key)
		if exists && same(file, old) {
			continue
		}
		sent++
		fmt.Fprintf(out, "upload: %s\n", name)
		if !j.DryRun {
			if err := store.put(file, key); err != nil {
				return err
			}
		}
	}
	if j.DeleteRemoved {
		keys := make([]string, 0, len(there))
		for key := range there {
			keys = append(keys, key)
		}
		sort.Strings(keys)
		for _, key := range keys {
			deleted++
			fmt.Fprintf(out, "delete: %s\n", strings.TrimPrefix(key, j.Prefix))
			if !j.DryRun {
				if err := store.delete(key); err != nil {
					return err
				}
			}
		}
	}
	fmt.Fprintf(out, "%d uploaded, %d deleted, %d unchanged\n", sent, deleted, len(files)-sent)
	return nil
}

// files are the regular files below the directory, links to files included, by their paths with slashes.
func (j syncJob) files() ([]string, error) {
	var found []string
	err := filepath.WalkDir(j.Directory, func(file string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(j.Directory, file)
		if err != nil || name == "." {
			return err
		}
		name = filepath.ToSlash(name)
		for _, pattern := range j.Exclude {
			whole, err := path.Match(pattern, name)
			if err != nil {
				return fmt.Errorf("exclude: %q is not a pattern", pattern)
			}
			last, _ := path.Match(pattern, path.Base(name))
			if whole || last {
				if entry.IsDir() {
					return fs.SkipDir
				}
				return nil
			}
		}
		info, err := os.Stat(file)
		if err != nil {
			return err
		}
		if info.Mode().IsRegular() {
			found = append(found, name)
		}
		return nil
	})
	slices.Sort(found)
	return found, err
}

// same is whether the object has the file's bytes, as far as its ETag tells: that of an upload in parts does not.
func same(file string, old object) bool {
	info, err := os.Stat(file)
	if err != nil || info.Size() != old.Size {
		return false
	}
	content, err := os.Open(file)
	if err != nil {
		return false
	}
	defer content.Close()
	sum := md5.New() // what an ETag is; it protects nothing
	if _, err := io.Copy(sum, content); err != nil {
		return false
	}
	return strings.Trim(old.ETag, `"`) == hex.EncodeToString(sum.Sum(nil))
}

// s3 is a bucket, spoken to in path style, which every server understands.
type s3 struct {
	job    syncJob
	client *http.Client
}

func (s *s3) list() (map[string]object, error) {
	found := map[string]object{}
	for token := ""; ; {
		query := url.Values{"list-type": {"2"}, "prefix": {s.job.Prefix}}
		if token != "" {
			query.Set("continuation-token", token)
		}
		body, err := s.call(http.MethodGet, "", query, nil, nil)
		if err != nil {
			return nil, fmt.Errorf("listing the bucket: %w", err)
		}
		var page struct {
			Contents              []object `xml:"Contents"`
			IsTruncated           bool     `xml:"IsTruncated"`
			NextContinuationToken string   `xml:"NextContinuationToken"`
		}
		if err := xml.Unmarshal(body, &page); err != nil {
			return nil, fmt.Errorf("the bucket's list is malformed: %w", err)
		}
		for _, each := range page.Contents {
			found[each.Key] = each
		}
		if !page.IsTruncated || page.NextContinuationToken == token {
			return found, nil
		}
		token = page.NextContinuationToken
	}
}

func (s *s3) put(file, key string) error {
	content, err := os.Open(file)
	if err != nil {
		return err
	}
	defer content.Close()
	headers := map[string]string{"Content-Type": typeOf(file)}
	for name, value := range s.job.Headers {
		headers[name] = value
	}
	if _, err := s.call(http.MethodPut, key, nil, content, headers); err != nil {
		return fmt.Errorf("uploading %s: %w", key, err)
	}
	return nil
}

func (s *s3) delete(key string) error {
	if _, err := s.call(http.MethodDelete, key, nil, nil, nil); err != nil {
		return fmt.Errorf("deleting %s: %w", key, err)
	}
	return nil
}

func typeOf(file string) string {
	if kind := mime.TypeByExtension(filepath.Ext(file)); kind != "" {
		return kind
	}
	return "application/octet-stream"
}

const unsignedPayload = "UNSIGNED-PAYLOAD"

func (s *s3) call(method, key string, query url.Values, body *os.File, headers map[string]string) ([]byte, error) {
	address, err := url.Parse(s.job.Endpoint)
	if err != nil || address.Host == "" {
		return nil, fmt.Errorf("the endpoint is not a URL")
	}
	address.Path = "/" + s.job.Bucket
	if key != "" {
		address.Path += "/" + key
	}
	address.RawPath = escaped(address.Path)
	address.RawQuery = strings.ReplaceAll(query.Encode(), "+", "%20")
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	var reader io.Reader = http.NoBody
	var size int64
	if body != nil {
		info, err := body.Stat()
		if err != nil {
			return nil, err
		}
		if size = info.Size(); size > 0 {
			reader = body
		}
	}
	request, err := http.NewRequestWithContext(ctx, method, address.String(), reader)
	if err != nil {
		return nil, err
	}
	request.ContentLength = size
	for name, value := range headers {
		request.Header.Set(name, value)
	}
	s.sign(request, time.Now().UTC())
	answer, err := s.client.Do(request)
	if err != nil {
		return nil, withoutURL(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, answerLimit))
	if err != nil {
		return nil, err
	}
	if answer.StatusCode >= 300 {
		var said struct {
			Code    string `xml:"Code"`
			Message string `xml:"Message"`
		}
		_ = xml.Unmarshal(text, &said)
		return nil, fmt.Errorf("HTTP %s %s %s", answer.Status, said.Code, said.Message)
	}
	return text, nil
}

// sign adds AWS's signature, version 4, over every header that the request has.
func (s *s3) sign(request *http.Request, now time.Time) {
	stamp, day := now.Format("20060102T150405Z"), now.Format("20060102")
	request.Header.Set("X-Amz-Date", stamp)
	request.Header.Set("X-Amz-Content-Sha256", unsignedPayload)
	if s.job.SessionToken != "" {
		request.Header.Set("X-Amz-Security-Token", s.job.SessionToken)
	}
	names := []string{"host"}
	for name := range request.Header {
		names = append(names, strings.ToLower(name))
	}
	sort.Strings(names)
	var headers strings.Builder
	for _, name := range names {
		value := request.URL.Host
		if name != "host" {
			value = strings.Join(strings.Fields(request.Header.Get(name)), " ")
		}
		fmt.Fprintf(&headers, "%s:%s\n", name, value)
	}
	signed := strings.Join(names, ";")
	canonical := strings.Join([]string{
		request.Method, request.URL.EscapedPath(), request.URL.RawQuery, headers.String(), signed, unsignedPayload,
	}, "\n")
	scope := strings.Join([]string{day, s.job.Region, "s3", "aws4_request"}, "/")
	digest := sha256.Sum256([]byte(canonical))
	toSign := strings.Join([]string{"AWS4-HMAC-SHA256", stamp, scope, hex.EncodeToString(digest[:])}, "\n")
	key := []byte("AWS4" + s.job.KeySecret)
	for _, part := range []string{day, s.job.Region, "s3", "aws4_request", toSign} {
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(part))
		key = mac.Sum(nil)
	}
	request.Header.Set("Authorization", fmt.Sprintf("AWS4-HMAC-SHA256 Credential=%s/%s, SignedHeaders=%s, Signature=%s",
		s.job.KeyID, scope, signed, hex.EncodeToString(key)))
}

// escaped is a path in the one form that the signature is made over.
func escaped(text string) string {
	var b strings.Builder
	for i := range len(text) {
		c := text[i]
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', strings.IndexByte("-._~", c) >= 0,
			c == '/':
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}
