package istio

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"iter"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"gopkg.in/yaml.v3"
)

// File is one input: YAML (one or many documents) or JSON (one or many objects).
type File struct {
	Name string // as the user wrote it; "-" for standard input
	Data []byte
}

// document is one YAML document of a file, with places that count from the start of the file.
type document struct {
	file string
	root *yaml.Node
}

// chunk is the text of one or, after "...", several documents.
type chunk struct {
	text   []byte
	line   int // lines of the file in front of it
	column int // characters in front of it in its first line
}

// documents parses a file and yields its documents and problems. A syntax error ends its own
// document only.
func documents(f File) iter.Seq2[document, *Diagnostic] {
	return func(yield func(document, *Diagnostic) bool) {
		if bad := invalidUTF8(f); bad != nil {
			yield(document{}, bad)
			return
		}
		for _, c := range split(f.Data) {
			roots, err := parse(c.text)
			for _, root := range roots {
				shift(root, c)
				if !yield(document{file: f.Name, root: root}, nil) {
					return
				}
			}
			if err == nil {
				continue
			}
			d := syntaxError(c, err)
			d.Place.File = f.Name
			if !yield(document{}, &d) {
				return
			}
		}
	}
}

// invalidUTF8 finds the first byte that is not UTF-8: the parser names no line for it.
func invalidUTF8(f File) *Diagnostic {
	if utf8.Valid(f.Data) {
		return nil
	}
	line, column := 1, 1
	for rest := f.Data; len(rest) > 0; {
		r, size := utf8.DecodeRune(rest)
		if r == utf8.RuneError && size == 1 {
			break
		}
		column++
		if r == '\n' {
			line, column = line+1, 1
		}
		rest = rest[size:]
	}
	return &Diagnostic{
		Place: Place{File: f.Name, Line: line, Column: column},
		Msg:   "the text is not UTF-8; save the file as UTF-8",
	}
}

// split cuts a file where YAML's "---" lines are, so that a syntax error costs only one document,
// and a stream of JSON objects between its objects.
func split(data []byte) []chunk {
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	if chunks := splitJSON(data); chunks != nil {
		return chunks
	}
	var chunks []chunk
	start, startLine, line := 0, 0, 0
	cut := func(end int) {
		text := data[start:end]
		switch {
		case blank(text):
		case directivesOnly(text):
			return // "%YAML 1.2" belongs to the document that follows
		default:
			// The parser knows version 1.1 alone, and reads 1.2 well.
			text = bytes.Replace(text, []byte("%YAML 1.2\n"), []byte("%YAML 1.1\n"), 1)
			chunks = append(chunks, chunk{text: text, line: startLine})
		}
		start, startLine = end, line
	}
	for at := 0; at < len(data); line++ {
		end := len(data)
		if i := bytes.IndexByte(data[at:], '\n'); i >= 0 {
			end = at + i + 1
		}
		if separator(data[at:end]) {
			cut(at)
		}
		at = end
	}
	cut(len(data))
	return chunks
}

// separator reports whether a line starts a document.
func separator(line []byte) bool {
	rest, ok := bytes.CutPrefix(line, []byte("---"))
	return ok && (len(rest) == 0 || bytes.IndexByte([]byte(" \t\r\n"), rest[0]) >= 0)
}

// blank reports whether a chunk has nothing but comments, white space and its separator.
func blank(text []byte) bool {
	return eachLine(text, func(line []byte) bool {
		if separator(line) {
			line = bytes.TrimSpace(line[3:])
		}
		return len(line) == 0 || line[0] == '#'
	})
}

// directivesOnly reports whether a chunk has no content yet.
func directivesOnly(text []byte) bool {
	return eachLine(text, func(line []byte) bool {
		return len(line) == 0 || line[0] == '#' || line[0] == '%'
	})
}

// eachLine reports whether ok holds for every line, stopping at the first that fails.
func eachLine(text []byte, ok func(trimmed []byte) bool) bool {
	for line := range bytes.Lines(text) {
		if !ok(bytes.TrimSpace(line)) {
			return false
		}
	}
	return true
}

// splitJSON cuts a stream of JSON objects; nil when the file is not one.
func splitJSON(data []byte) []chunk {
	if trimmed := bytes.TrimLeft(data, " \t\r\n"); len(trimmed) == 0 || trimmed[0] != '{' {
		return nil
	}
	var chunks []chunk
	dec := json.NewDecoder(bytes.NewReader(data))
	last, line, column := 0, 0, 0
	for {
		var raw json.RawMessage
		if err := dec.Decode(&raw); errors.Is(err, io.EOF) {
			return chunks
		} else if err != nil {
			return nil
		}
		end := int(dec.InputOffset())
		start := end - len(raw)
		line, column = advance(line, column, data[last:start])
		chunks = append(chunks, chunk{yamlEscapes(raw), line, column})
		line, column = advance(line, column, raw)
		last = end
	}
}

// jsonEscape is an escape that JSON has and YAML has not, or any other.
var jsonEscape = regexp.MustCompile(`\\(?:/|u[dD][89abAB]..\\u[dD][c-fC-F]..|u[dD][89a-fA-F]..|.)`)

// yamlEscapes replaces the escapes of JSON that the YAML parser does not know: "\/" and surrogates.
func yamlEscapes(raw []byte) []byte {
	if !bytes.Contains(raw, []byte(`\/`)) && !bytes.Contains(bytes.ToLower(raw), []byte(`\ud`)) {
		return raw
	}
	return jsonEscape.ReplaceAllFunc(raw, func(escape []byte) []byte {
		if escape[1] != '/' && len(escape) == 2 {
			return escape
		}
		var s string
		if json.Unmarshal(slices.Concat([]byte(`"`), escape, []byte(`"`)), &s) != nil {
			return escape
		}
		return []byte(s)
	})
}

// advance moves a place behind a text.
func advance(line, column int, text []byte) (int, int) {
	if i := bytes.LastIndexByte(text, '\n'); i >= 0 {
		return line + bytes.Count(text, []byte("\n")), utf8.RuneCount(text[i+1:])
	}
	return line, column + utf8.RuneCount(text)
}

// parse returns the documents of a chunk in front of its first syntax error.
func parse(text []byte) (roots []*yaml.Node, err error) {
	// The parser panics on some malformed inputs where it should return an error.
	defer func() {
		if r := recover(); r != nil {
			err = errors.New("yaml: the document cannot be parsed")
		}
	}()
	dec := yaml.NewDecoder(bytes.NewReader(text))
	for {
		var doc yaml.Node
		if err := dec.Decode(&doc); errors.Is(err, io.EOF) {
			return roots, nil
		} else if err != nil {
			return roots, err
		}
		if len(doc.Content) > 0 && !isNull(doc.Content[0]) {
			roots = append(roots, doc.Content[0])
		}
	}
}

// shift moves the places of a tree to where its chunk is. Aliases are not followed: their anchors
// are in the tree.
func shift(n *yaml.Node, c chunk) {
	if n.Line == 1 {
		n.Column += c.column
	}
	n.Line += c.line
	for _, content := range n.Content {
		shift(content, c)
	}
}

var yamlError = regexp.MustCompile(`^yaml: (?:line (\d+): )?(.*)$`)

// syntaxError places a parser's error. yaml.v3 names the line where the enclosing construct starts,
// or none; the text that it had consumed tells the place of the problem itself.
func syntaxError(c chunk, err error) Diagnostic {
	msg, own := err.Error(), 1
	if m := yamlError.FindStringSubmatch(msg); m != nil {
		msg = m[2]
		if n, err := strconv.Atoi(m[1]); err == nil {
			own = n
		}
	}
	lines := bytes.Split(c.text, []byte("\n"))
	at := own
	if !strings.Contains(msg, "end of stream") && len(c.text) < 1<<20 {
		at = 1 + bytes.Count(c.text[:consumed(c.text)], []byte("\n"))
	}
	at = min(at, len(lines))
	line := lines[at-1]
	indent := len(line) - len(bytes.TrimLeft(line, " \t"))
	if tab := bytes.IndexByte(line[:indent], '\t'); tab >= 0 {
		msg, indent = msg+"; a tab indents this line, YAML indents with spaces only", tab
	}
	return Diagnostic{Place: Place{Line: c.line + at, Column: indent + 1}, Msg: "YAML: " + msg}
}

// lookahead is how many characters the scanner reads past its place.
const lookahead = 4

// consumed returns how far the parser came before it failed.
func consumed(text []byte) (n int) {
	defer func() { recover() }() //nolint:errcheck // see parse
	r := &slowReader{text: text}
	dec := yaml.NewDecoder(r)
	for {
		var doc yaml.Node
		if err := dec.Decode(&doc); err != nil {
			return max(0, r.at-lookahead)
		}
	}
}

// slowReader gives one byte at a time, so that its reader's place is known.
type slowReader struct {
	text []byte
	at   int
}

func (r *slowReader) Read(p []byte) (int, error) {
	if r.at == len(r.text) {
		return 0, io.EOF
	}
	r.at++
	return copy(p, r.text[r.at-1:r.at]), nil
}

// deref follows an alias.
func deref(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}

func isNull(n *yaml.Node) bool {
	return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null"
}
