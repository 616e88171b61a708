"""Pictures of runs as SVG: lines and bars in the colours of the page, without scripts."""
