"""What columns of one name have to do with a target, learned in closed form across tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from sklearn_meta.learners._column_summary import TableSummary, check_forms, keys_of, summarise
from sklearn_meta.preprocessing._column_names import EncodedColumn

#: Tables that the prior of a name counts for: the mean over all columns of numbers.
PRIOR_TABLES = 2.0
#: Of a wider table unknown names are not expected to tell anything.
MAX_COLUMNS = 512
#: Relative to the variance of a column; regularises the slopes.
RIDGE = 1.0
_FORMS = {"names": ("u", 1), "n_columns": ("i", 1), "columns": ("i", 1), "log_sd": ("f", 1)}
_FORMS |= {"has_log_sd": ("u", 1), "products": ("f", 1), "facts": ("f", 2), "known": ("u", 2)}


@dataclass(frozen=True, eq=False, slots=True)
class Expected:
    """What a prior expects of a table with d columns, in standard deviations.

    Attributes
    ----------
    slopes : ndarray of shape (d,)
        Of the target by the columns.
    log_sd : ndarray of shape (d,)
    n_tables : ndarray of shape (d,)
        So many tables tell `log_sd`.
    target_log_sd, target_spread : float
        Mean, and variance between tables, of the logarithm of the target's standard deviation.
    """

    slopes: np.ndarray
    log_sd: np.ndarray
    n_tables: np.ndarray
    target_log_sd: float
    target_spread: float


@dataclass(frozen=True, eq=False)
class ColumnPrior:
    """Correlations by name and kind of columns, from many tables.

    The correlations of a name with the target and with other names are averages over the tables
    that have them, shrunken to the average over all columns of numbers, which is itself shrunken
    to zero unless the tables agree. Solved for slopes, they are the prior mean of a linear model.

    W. James, C. Stein (1961). Estimation with quadratic loss.

    Attributes
    ----------
    names : tuple of (kind, name)
    tables : tuple of TableSummary
    """

    names: tuple[tuple[str, str], ...] = ()
    tables: tuple[TableSummary, ...] = ()

    @classmethod
    def learn(
        cls, tables: Iterable[tuple[np.ndarray, np.ndarray, Sequence[EncodedColumn]]]
    ) -> ColumnPrior:
        """Learn from tables (z, y, columns): encoded rows (n, d), numbers (n,), d columns."""
        index: dict[tuple[str, str], int] = {}
        summaries = tuple(summarise(*table, index) for table in tables)
        return cls(tuple(index), summaries)

    def without(self, t: int) -> ColumnPrior:
        """Return what all tables but one tell."""
        return replace(self, tables=self.tables[:t] + self.tables[t + 1 :])

    def expect(self, columns: Sequence[EncodedColumn]) -> Expected:
        """What is to be expected of a table with these columns.

        Of a table with very many, only names that are known are looked at.
        """
        at = np.array([self._index.get(key, -1) for key in keys_of(columns)], dtype=np.int64)
        number = np.array([column.kind == "number" for column in columns], dtype=np.float64)
        if len(at) > MAX_COLUMNS:
            expected = self._expect(at[at >= 0], number[at >= 0])
            wide = np.zeros((3, len(at)))
            wide[:, at >= 0] = expected.slopes, expected.log_sd, expected.n_tables
            return replace(expected, slopes=wide[0], log_sd=wide[1], n_tables=wide[2])
        return self._expect(at, number)

    def _expect(self, at: np.ndarray, number: np.ndarray) -> Expected:
        """`expect` of columns by their positions among the names, -1 for none."""
        d = len(at)
        position = np.full(len(self.names), -1)
        position[at[at >= 0]] = np.flatnonzero(at >= 0)
        total, count = np.zeros((2, d + 1, d + 1))
        log_sd, n_tables = np.zeros((2, d))
        for table in self.tables:
            here = position[table.columns]
            shared = here >= 0
            if not shared.any():
                continue
            rows, here = np.r_[True, shared], here[shared]
            block = np.ix_(np.r_[0, here + 1], np.r_[0, here + 1])
            total[block] += table.facts[0] * table.products[np.ix_(rows, rows)]
            count[block] += table.facts[0]
            log_sd[here] += table.log_sd[shared]
            n_tables[here] += table.has_log_sd[shared]
        prior = np.zeros_like(total)
        prior[1:, 1:] = self._shrunken(2) * np.outer(number, number)
        prior[0, 1:] = prior[1:, 0] = self._shrunken(1) * number
        correlations = _nearest((total + PRIOR_TABLES * prior) / (count + PRIOR_TABLES))
        target = self._fact(3)
        known = len(target) > 1
        return Expected(
            _slopes(correlations[0, 1:], correlations[1:, 1:]),
            log_sd / np.maximum(n_tables, 1),
            n_tables,
            float(target.mean()) if known else 0.0,
            float(target.var()) + 0.01 if known else 1e6,
        )

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Export as named arrays, all finite."""
        text = "\n".join(f"{kind} {name}" for kind, name in self.names)
        tables = self.tables

        def joined(parts: list[np.ndarray], dtype: type) -> np.ndarray:
            return np.concatenate([np.zeros(0, dtype), *parts], dtype=dtype)

        return {
            "names": np.frombuffer(text.encode(), dtype=np.uint8).copy(),
            "n_columns": np.array([len(t.columns) for t in tables], dtype=np.int64),
            "columns": joined([t.columns for t in tables], np.int64),
            "log_sd": joined([t.log_sd for t in tables], np.float64),
            "has_log_sd": joined([t.has_log_sd for t in tables], np.uint8),
            "products": joined([t.products.ravel() for t in tables], np.float32),
            "facts": joined([t.facts for t in tables], np.float64).reshape(-1, 4),
            "known": joined([t.known for t in tables], np.uint8).reshape(-1, 4),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> ColumnPrior:
        """Read back what `to_arrays` gave; the same bits.

        Raises
        ------
        ValueError
            If it is damaged.
        """
        check_forms(arrays, _FORMS)
        lines = arrays["names"].tobytes().decode().split("\n") if len(arrays["names"]) else []
        names = tuple(tuple(line.split(" ", 1)) for line in lines)
        n_columns = arrays["n_columns"]
        ends = n_columns.cumsum()[:-1]
        sizes = {"columns": n_columns.sum(), "log_sd": n_columns.sum()}
        sizes |= {"has_log_sd": n_columns.sum(), "products": ((n_columns + 1) ** 2).sum()}
        sizes |= {"facts": 4 * len(n_columns), "known": 4 * len(n_columns)}
        at = arrays["columns"]
        if (
            any(len(name) < 2 for name in names)
            or (n_columns < 0).any()
            or any(arrays[name].size != size for name, size in sizes.items())
            or (at.size and not 0 <= at.min() <= at.max() < len(names))
        ):
            raise ValueError("damaged names of columns: the arrays do not fit each other.")
        if not len(n_columns):
            return cls(names)
        parts = [np.split(arrays[name], ends) for name in ("columns", "log_sd")]
        parts.append(np.split(arrays["has_log_sd"].astype(bool), ends))
        products = np.split(arrays["products"], ((n_columns + 1) ** 2).cumsum()[:-1])
        parts.append([p.reshape(d + 1, d + 1) for p, d in zip(products, n_columns, strict=True)])
        parts += [list(arrays["facts"]), list(arrays["known"].astype(bool))]
        return cls(names, tuple(TableSummary(*table) for table in zip(*parts, strict=True)))

    @cached_property
    def _index(self) -> dict[tuple[str, str], int]:
        return {key: u for u, key in enumerate(self.names)}

    def _fact(self, which: int) -> np.ndarray:
        return np.array([t.facts[which] for t in self.tables if t.known[which]])

    def _shrunken(self, which: int) -> float:
        """Mean over tables by positive-part James-Stein: 0 unless they agree."""
        values = self._fact(which)
        if len(values) < 2:
            return 0.0
        mean, error = values.mean(), values.var(ddof=1) / len(values)
        return float(mean * max(0.0, 1 - error / max(mean**2, 1e-12)))


def _nearest(matrix: np.ndarray) -> np.ndarray:
    """Return a correlation matrix near one of averages over different tables."""
    np.fill_diagonal(matrix, 1.0)
    values, vectors = np.linalg.eigh(matrix)
    matrix = (vectors * np.maximum(values, 1e-3)) @ vectors.T
    scale = np.sqrt(matrix.diagonal())
    return matrix / np.outer(scale, scale)


def _slopes(with_target: np.ndarray, among: np.ndarray) -> np.ndarray:
    """Slopes of a ridge regression, scaled so that they explain all they can."""
    slopes = np.linalg.solve(among + RIDGE * np.eye(len(among)), with_target)
    explained = slopes @ among @ slopes
    return slopes * (slopes @ with_target) / (explained + 1e-9)
