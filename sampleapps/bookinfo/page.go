package bookinfo

import (
	"bytes"
	"cmp"
	"embed"
	"encoding/json"
	"fmt"
	"html/template"
	"net/http"
	"strings"
)

//go:embed page
var pages embed.FS

var (
	productTemplate = parse("page/productpage.html")
	indexTemplate   = parse("page/index.html")
)

func parse(name string) *template.Template {
	return template.Must(template.ParseFS(pages, "page/frame.html", name))
}

// product is a book of the shop.
type product struct {
	ID              int           `json:"id"`
	Title           string        `json:"title"`
	DescriptionHTML template.HTML `json:"descriptionHtml"`
}

// comedy is the only one.
var comedy = product{0, "The Comedy of Errors",
	`<a href="https://en.wikipedia.org/wiki/The_Comedy_of_Errors">The Comedy of Errors</a> ` +
		`is the shortest of <b>William Shakespeare</b>'s plays: two pairs of twins who do not ` +
		`know of each other, mistaken for one another all day long.`}

// view is what the page shows.
type view struct {
	User    string
	Product product
	Details []row    // nil: they could not be had
	Reviews *opinion // nil likewise
	Sorry   func(what string) string
}

type row struct{ Name, Value string }

type opinion struct {
	Pod     string
	Cluster string // empty: not known
	Reviews []shownReview
}

type shownReview struct {
	Reviewer, Text string
	Rating         *shownRating
}

type shownRating struct {
	Stars         string // what is read aloud
	Color         string // "red", by which the page's class is named
	Shade         string // how it is painted
	Filled, Empty []struct{}
	Error         string
}

// shades are the colours of the tutorial; others are painted as they are called.
var shades = map[string]string{"black": "#20252b", "red": "#d32f2f"}

// page asks for details, then for reviews, and shows what came.
func (p *productPage) page(w http.ResponseWriter, r *http.Request) {
	v := view{User: userOf(r), Product: comedy, Sorry: sorry}
	header := headers(r)
	id := fmt.Sprint(comedy.ID)
	if _, answer := p.ask(p.details, id, header); answer != "" {
		v.Details = rows(answer)
	}
	for range p.flood {
		p.ask(p.reviews, id, header)
	}
	if _, answer := p.ask(p.reviews, id, header); answer != "" {
		v.Reviews = readReviews(answer)
	}
	w.Header().Set("Vary", "Cookie")
	show(w, productTemplate, v)
}

// index tells what the shop is made of.
func (p *productPage) index(w http.ResponseWriter, r *http.Request) {
	show(w, indexTemplate, struct {
		User     string
		Services []service
	}{userOf(r), []service{p.details, p.reviews, p.ratings}})
}

// Name and URL are for the template.
func (s service) Name() string { return s.name }

// URL is where the service is asked.
func (s service) URL() string { return s.url }

func show(w http.ResponseWriter, t *template.Template, data any) {
	var body bytes.Buffer
	if err := t.ExecuteTemplate(&body, "frame", data); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	asHTML(w)
	_, _ = w.Write(body.Bytes()) // the client may be gone
}

// rows are what details told, in the order of the page; nil when it is no object.
func rows(answer string) []row {
	var told map[string]any
	dec := json.NewDecoder(strings.NewReader(answer))
	dec.UseNumber()
	if dec.Decode(&told) != nil {
		return nil
	}
	out := []row{}
	for _, k := range []row{
		{"Author", "author"}, {"Year", "year"}, {"Type", "type"}, {"Pages", "pages"},
		{"Publisher", "publisher"}, {"Language", "language"}, {"ISBN-10", "ISBN-10"},
		{"ISBN-13", "ISBN-13"},
	} {
		if v := told[k.Value]; v != nil {
			out = append(out, row{k.Name, fmt.Sprint(v)})
		}
	}
	return out
}

// readReviews reads what reviews told; nil when it is something else.
func readReviews(answer string) *opinion {
	var told productReviews
	if json.Unmarshal([]byte(answer), &told) != nil {
		return nil
	}
	out := &opinion{Pod: told.Podname, Cluster: told.Clustername}
	if out.Cluster == "null" {
		out.Cluster = ""
	}
	for _, r := range told.Reviews {
		out.Reviews = append(out.Reviews, shownReview{r.Reviewer, r.Text, shownOf(r.Rating)})
	}
	return out
}

// bestRating is how many stars there are, filled and empty; mostStars is how many are drawn at
// most.
const (
	bestRating = 5
	mostStars  = 50
)

// shownOf is how a rating is shown: no stars and no error are nothing at all.
func shownOf(r *rating) *shownRating {
	switch {
	case r == nil:
		return nil
	case r.Stars == nil || *r.Stars == 0:
		if r.Error == "" {
			return nil
		}
		return &shownRating{Error: r.Error}
	}
	filled := int(max(0, min(*r.Stars, mostStars)))
	return &shownRating{
		Stars: fmt.Sprintf("%d of %d", filled, bestRating), Color: r.Color,
		Shade: cmp.Or(shades[r.Color], r.Color), Filled: make([]struct{}, filled),
		Empty: make([]struct{}, max(0, bestRating-filled)),
	}
}
