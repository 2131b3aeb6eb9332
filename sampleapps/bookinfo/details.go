package bookinfo

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"path"
	"strconv"
	"time"

	"github.com/mesh-lab/mesh-lab/sampleapps/app"
)

// bookTimeout is how long details v2 waits for the book service.
const bookTimeout = 5 * time.Second

type details struct {
	env   app.Env
	books string // URL of the external book service; empty: not asked
}

// book is the answer about one product. The book service chooses the types of two fields.
type book struct {
	ID        int64           `json:"id"`
	Author    string          `json:"author"`
	Year      json.RawMessage `json:"year"`
	Type      string          `json:"type"`
	Pages     json.RawMessage `json:"pages"`
	Publisher string          `json:"publisher"`
	Language  string          `json:"language"`
	ISBN10    string          `json:"ISBN-10"`
	ISBN13    string          `json:"ISBN-13"`
}

// Details returns the app. With ENABLE_EXTERNAL_BOOK_SERVICE, which is true in version v2 where it
// is not set, the data are those of a book service outside of the mesh: over TLS and port 443, or,
// with DO_NOT_ENCRYPT, over plain text and port 80, for a sidecar that encrypts in its place.
// BOOK_SERVICE_HOSTNAME and BOOK_SERVICE_PORT lead elsewhere.
func Details(env app.Env) (http.Handler, error) {
	s := &details{env: env}
	external, err := env.Flag("ENABLE_EXTERNAL_BOOK_SERVICE", version(&env, "details") == "v2")
	if err != nil {
		return nil, err
	}
	plain, err := env.Flag("DO_NOT_ENCRYPT", false)
	if err != nil {
		return nil, err
	}
	if external {
		if s.books, err = bookService(&env, plain); err != nil {
			return nil, err
		}
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/details", s.get)
	mux.HandleFunc("/details/", s.get)
	mux.HandleFunc("/health", func(w http.ResponseWriter, _ *http.Request) {
		app.JSON(w, http.StatusOK, health{"Details is healthy"})
	})
	return logged(env, mux), nil
}

// bookService returns the URL that is asked for the book.
func bookService(env *app.Env, plain bool) (string, error) {
	scheme, standard := "https", 443
	if plain {
		scheme, standard = "http", 80
	}
	at, err := env.Int("BOOK_SERVICE_PORT", standard)
	if err != nil {
		return "", err
	}
	host := env.Var("BOOK_SERVICE_HOSTNAME", "www.googleapis.com")
	if at != standard {
		host += ":" + strconv.Itoa(at)
	}
	return scheme + "://" + host + "/books/v1/volumes?q=isbn:0486424618", nil
}

func (s *details) get(w http.ResponseWriter, r *http.Request) {
	id, err := strconv.ParseInt(path.Base(r.URL.Path), 0, 64)
	if err != nil {
		app.JSON(w, http.StatusBadRequest, failure{"please provide numeric product id"})
		return
	}
	b := &book{
		Author: "William Shakespeare", Year: json.RawMessage("1595"), Type: "paperback",
		Pages: json.RawMessage("200"), Publisher: "PublisherA", Language: "English",
		ISBN10: "1234567890", ISBN13: "123-1234567890",
	}
	if s.books != "" {
		if b, err = s.lookUp(r); err != nil {
			app.JSON(w, http.StatusBadRequest, failure{err.Error()})
			return
		}
	}
	b.ID = id
	app.JSON(w, http.StatusOK, b)
}

// volumes is what the book service answers.
type volumes struct {
	Items []struct {
		VolumeInfo volume `json:"volumeInfo"`
	} `json:"items"`
}

type volume struct {
	Authors             []string        `json:"authors"`
	PublishedDate       json.RawMessage `json:"publishedDate"`
	PrintType           string          `json:"printType"`
	PageCount           json.RawMessage `json:"pageCount"`
	Publisher           string          `json:"publisher"`
	Language            string          `json:"language"`
	IndustryIdentifiers []struct {
		Type       string `json:"type"`
		Identifier string `json:"identifier"`
	} `json:"industryIdentifiers"`
}

// lookUp asks the book service.
func (s *details) lookUp(r *http.Request) (*book, error) {
	reply, err := s.env.Call(s.env.Life(), app.Call{
		URL: s.books, Header: forward(r.Header), Timeout: bookTimeout, Fresh: true,
	})
	if err != nil {
		return nil, err
	}
	var found volumes
	if err := json.Unmarshal([]byte(reply.Body), &found); err != nil {
		return nil, fmt.Errorf("the book service answered %d: %w", reply.Status, err)
	}
	if len(found.Items) == 0 || len(found.Items[0].VolumeInfo.Authors) == 0 {
		return nil, fmt.Errorf("the book service answered %d: no book, or no author", reply.Status)
	}
	v := found.Items[0].VolumeInfo
	b := &book{
		Author: v.Authors[0], Year: v.PublishedDate, Type: "unknown", Pages: v.PageCount,
		Publisher: v.Publisher, Language: "unknown",
		ISBN10: v.identifier("ISBN_10"), ISBN13: v.identifier("ISBN_13"),
	}
	if v.PrintType == "BOOK" {
		b.Type = "paperback"
	}
	if v.Language == "en" {
		b.Language = "English"
	}
	if b.ISBN10 == "" || b.ISBN13 == "" {
		return nil, errors.New("the book service knows no ISBN")
	}
	return b, nil
}

// identifier returns the first identifier of a kind.
func (v *volume) identifier(kind string) string {
	for _, i := range v.IndustryIdentifiers {
		if i.Type == kind {
			return i.Identifier
		}
	}
	return ""
}
