"""What the answers of a listening test show: ratings with intervals, screening, comparisons, agreement, a figure."""
