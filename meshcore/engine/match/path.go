package match

import "bytes"

// PathKind is how a Path compares.
type PathKind uint8

// The kinds of path match (envoy.config.route.v3.RouteMatch).
const (
	PathPrefix PathKind = iota
	PathExact
	PathRegex
	PathSeparated // path_separated_prefix: the prefix, then nothing or a slash
)

// Path is a compiled path match. It looks at the path without query and fragment.
type Path struct {
	Kind   PathKind
	Fold   bool // case_sensitive: false; not with PathRegex
	Want   []byte
	Regexp String // PathRegex
}

// Match says whether the path is wanted.
func (p *Path) Match(path []byte) bool {
	switch p.Kind {
	case PathPrefix:
		return p.starts(path)
	case PathExact:
		return len(path) == len(p.Want) && p.starts(path)
	case PathSeparated:
		return p.starts(path) && (len(path) == len(p.Want) || path[len(p.Want)] == '/')
	default:
		return p.Regexp.Match(path)
	}
}

func (p *Path) starts(path []byte) bool {
	if len(path) < len(p.Want) {
		return false
	}
	if p.Fold {
		return EqualFold(path[:len(p.Want)], p.Want)
	}
	return string(path[:len(p.Want)]) == string(p.Want)
}

// What normalisation does with a byte of a path.
const (
	pass   = iota
	escape // is written as %XX
	refuse
)

// classes are those of the URL library that Envoy uses (googleurl url_canon_path.cc), measured
// byte by byte with 1.40.
var classes = func() (t [256]uint8) {
	for c := range t {
		switch {
		case c < 0x20 || c == '#' || c == 0x7f:
			t[c] = refuse
		case c >= 0x80 || bytes.IndexByte([]byte(" \"<>^`{|}"), byte(c)) >= 0:
			t[c] = escape
		}
	}
	return t
}()

const upperHex = "0123456789ABCDEF"

// Clean says that Normalize would leave the path as it is (it may say no for others, too).
func Clean(path []byte) bool {
	if len(path) == 0 || path[0] != '/' {
		return false
	}
	for i, c := range path {
		if c == '%' || c == '\\' || classes[c] != pass {
			return false
		}
		if c == '.' && path[i-1] == '/' {
			return false
		}
	}
	return true
}

// Normalize appends the path (without query) in RFC 3986 normal form to out: backslashes are
// slashes, dot segments resolved, escaped letters, digits, "-", ".", "_" and "~" decoded, other
// escapes left alone, bad escapes too. ok is false for what Envoy answers with 400.
//
// It is Envoy's normalize_path (source/common/http/path_utility.cc canonicalPath). Like 1.40 it
// drops the parameters of a dot segment: "/a/..;x/b" is "/b".
func Normalize(out, path []byte) (norm []byte, ok bool) {
	base := len(out)
	if len(path) == 0 || path[0] != '/' {
		return nil, false
	}
	for len(path) > 0 {
		// path begins with a slash; seg is what follows it up to the next.
		end := 1
		for end < len(path) && path[end] != '/' && path[end] != '\\' {
			end++
		}
		seg, last := path[1:end], end == len(path)
		path = path[end:]
		switch dots(seg) {
		case 1:
			if last {
				out = append(out, '/')
			}
			continue
		case 2:
			if i := bytes.LastIndexByte(out[base:], '/'); i >= 0 {
				out = out[:base+i]
			}
			if last {
				out = append(out, '/')
			}
			continue
		}
		out = append(out, '/')
		if out, ok = decode(out, seg); !ok {
			return nil, false
		}
	}
	return out, true
}

// dots returns 1 for ".", 2 for "..", 0 otherwise; a dot may be escaped, parameters may follow
// plain dots.
func dots(seg []byte) int {
	if i := bytes.IndexByte(seg, ';'); i == 1 || i == 2 {
		if seg[0] == '.' && (i == 1 || seg[1] == '.') {
			return i
		}
	}
	n := 0
	for len(seg) > 0 {
		switch {
		case seg[0] == '.':
			seg = seg[1:]
		case len(seg) >= 3 && seg[0] == '%' && seg[1] == '2' && lower(seg[2]) == 'e':
			seg = seg[3:]
		default:
			return 0
		}
		if n++; n > 2 {
			return 0
		}
	}
	return n
}

func decode(out, seg []byte) ([]byte, bool) {
	for i := 0; i < len(seg); i++ {
		c := seg[i]
		if c == '%' && i+2 < len(seg) {
			hi, lo := unhex(seg[i+1]), unhex(seg[i+2])
			if hi < 16 && lo < 16 {
				v := hi<<4 | lo
				if v == 0 {
					return nil, false
				}
				if unreserved(v) {
					out = append(out, v)
				} else {
					out = append(out, seg[i:i+3]...)
				}
				i += 2
				continue
			}
		}
		switch classes[c] {
		case refuse:
			return nil, false
		case escape:
			out = append(out, '%', upperHex[c>>4], upperHex[c&15])
		default:
			out = append(out, c)
		}
	}
	return out, true
}

func unreserved(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' ||
		c == '-' || c == '.' || c == '_' || c == '~'
}

func unhex(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'a' <= lower(c) && lower(c) <= 'f':
		return lower(c) - 'a' + 10
	}
	return 16
}

// MergeSlashes appends the path (without query) with runs of slashes made one.
func MergeSlashes(out, path []byte) []byte {
	for i, c := range path {
		if c == '/' && i > 0 && path[i-1] == '/' {
			continue
		}
		out = append(out, c)
	}
	return out
}

// UnescapeSlashes appends the path (without query) with %2F and %5C decoded; found says whether
// there were any (Envoy PathUtil::unescapeSlashes).
func UnescapeSlashes(out, path []byte) (plain []byte, found bool) {
	for i := 0; i < len(path); i++ {
		if path[i] == '%' && i+2 < len(path) {
			switch v := unhex(path[i+1])<<4 | unhex(path[i+2]); {
			case path[i+1] == '2' && v == '/', path[i+1] == '5' && v == '\\':
				out, found, i = append(out, v), true, i+2
				continue
			}
		}
		out = append(out, path[i])
	}
	return out, found
}
