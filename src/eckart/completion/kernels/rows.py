# pyright: reportMissingParameterType=false, reportUnknownParameterType=false
"""Kernels that solve the equations of a piece of the rows: exact, blockwise, iterative, drawn."""

import numpy as np

from eckart.completion.kernels import Kernel, inner
from eckart.completion.kernels.products import (
    add_combination,
    add_gram,
    backward,
    clear,
    copy_with_ridge,
    dots,
    factor,
    forward,
    gather,
    outer_gram,
    scale_rows,
    subtract_from_targets,
    total_weight,
    weigh,
    weighed_squares,
)

AT_ONCE = 256
"""Number of gathered factor rows in a product with BLAS."""


@inner
def assemble(begin, end, known, gram, ridge, H, right, kept, shares):
    """H = gram + ridge + Σ w·DᵀD and right += Σ w·t·D; returns Σ w·t²."""
    _, indices, targets, weights, offsets, mean, table = known
    copy_with_ridge(gram, ridge, H)
    total = 0.0
    for first in range(begin, end, kept.shape[0]):
        count = min(kept.shape[0], end - first)
        gather(kept, table, indices, first, count)
        clear(shares[:count])
        subtract_from_targets(first, count, indices, targets, offsets, mean, shares)
        total += weighed_squares(first, count, weights, shares)
        add_combination(kept, count, shares, right)
        scale_rows(kept, first, count, weights)
        add_gram(kept, count, H)
    return total


@inner
def solve_by_entries(begin, end, known, inverse, root, x, kept, shares, left):
    """X ← inverse·x + z, where z solves the remainder as a system of one unknown for each entry.

    With F = √w·D·root and root² = inverse the least squares problem for z is solved by
    root·Fᵀ(FFᵀ + 1)⁻¹√w(t − Dx), whose matrix is small if there are few entries.

    Returns:
        The value of the problem: √w(t − Dx)ᵀ(FFᵀ + 1)⁻¹√w(t − Dx) − ⟨linear, inverse·linear⟩.
    """
    _, indices, targets, weights, offsets, mean, table = known
    count, value = end - begin, 0.0
    for c in range(x.shape[0]):
        linear = x[c]
        x[c] *= inverse[c]
        value -= linear * x[c]
    if count == 0:
        return value
    gather(kept, table, indices, begin, count)
    dots(kept, count, x, shares)
    subtract_from_targets(begin, count, indices, targets, offsets, mean, shares)
    for j in range(count):
        w = np.sqrt(weights[begin + j]) if weights.shape[0] > 0 else np.float32(1.0)
        shares[j] *= w
        left[j] = shares[j]
        row = kept[j]
        for c in range(x.shape[0]):
            row[c] *= w * root[c]
    small = np.empty((count, count), np.float32)
    outer_gram(kept, count, small)
    for j in range(count):
        small[j, j] += np.float32(1.0)
    factor(small)
    forward(small, shares[:count])
    backward(small, shares[:count])
    for j in range(count):
        value += left[j] * shares[j]
    clear(left[: x.shape[0]])
    add_combination(kept, count, shares, left[: x.shape[0]])
    for c in range(x.shape[0]):
        x[c] += root[c] * left[c]
    return value


@Kernel
def exact_rows(first, last, diagonal, known, gram, ridge, linear, X, losses):
    """For each row, find the x that minimises Σ w(t − Dx)² + xᵀ(gram + ridge)x − 2·linear·x.

    If the Gram matrix is `diagonal`, a row with few entries has a system of their number. X holds
    the solution, and `losses` the minimum.
    """
    width = X.shape[1]
    starts = known[0]
    H, right = np.empty((width, width), np.float32), np.empty(width, np.float32)
    inverse, root = np.empty(width, np.float32), np.empty(width, np.float32)
    longest = max(AT_ONCE, width)
    kept, shares = np.empty((longest, width), np.float32), np.empty(longest, np.float32)
    left = np.empty(longest, np.float32)
    for row in range(first, last):
        begin, end = starts[row], starts[row + 1]
        x = X[row]
        clear(x)
        if linear.shape[0] > 0:
            for c in range(width):
                x[c] = linear[row, c]
        if diagonal and 4 * (end - begin) <= 3 * width:  # below ¾·width entries that is cheaper
            for c in range(width):
                inverse[c] = np.float32(1.0) / (gram[c, c] + ridge[row])
                root[c] = np.sqrt(inverse[c])
            losses[row] = solve_by_entries(begin, end, known, inverse, root, x, kept, shares, left)
        else:
            loss = assemble(begin, end, known, gram, ridge[row], H, x, kept, shares)
            for c in range(width):
                right[c] = x[c]
            factor(H)
            forward(H, x)
            backward(H, x)
            for c in range(width):
                loss -= right[c] * x[c]
            losses[row] = loss


@inner
def copy_block(kept, first, count, left, width, weights, out):
    """Copy `width` columns of the first rows of `kept`, times the roots of the weights."""
    for j in range(count):
        source, row = kept[j], out[j]
        root = np.sqrt(weights[first + j]) if weights.shape[0] > 0 else np.float32(1.0)
        for c in range(width):
            row[c] = root * source[left + c]


@Kernel
def block_rows(first, last, block, kept_rows, known, diagonal, ridge, linear, X, losses):
    """For each row, solve for one block of x after another while the others are held fixed."""
    width = X.shape[1]
    starts, indices, targets, weights, offsets, mean, table = known
    kept, said = np.empty((kept_rows, width), np.float32), np.empty(kept_rows, np.float32)
    for row in range(first, last):
        begin, end, x = starts[row], starts[row + 1], X[row]
        decrease = np.float32(0.0)
        loss = 0.0
        for c in range(width):
            loss += (diagonal[c] + ridge[row]) * x[c] * x[c]
            if linear.shape[0] > 0:
                loss -= 2 * linear[row, c] * x[c]
        for left in range(0, width, block):
            size = min(block, width - left)
            H, step = np.empty((size, size), np.float32), np.empty(size, np.float32)
            for i in range(size):
                clear(H[i])
                H[i, i] = diagonal[left + i] + ridge[row]
                step[i] = -H[i, i] * x[left + i]
                if linear.shape[0] > 0:
                    step[i] += linear[row, left + i]
            for start in range(begin, end, kept_rows):
                count = min(kept_rows, end - start)
                if left == 0 or end - begin > kept_rows:  # else they are there from the last block
                    gather(kept, table, indices, start, count)
                dots(kept, count, x, said)
                subtract_from_targets(start, count, indices, targets, offsets, mean, said)
                squared = weighed_squares(start, count, weights, said)
                if left == 0:
                    loss += squared
                small = np.empty((count, size), np.float32)
                copy_block(kept, start, count, left, size, weights, small)
                add_gram(small, count, H)
                if weights.shape[0] > 0:
                    for j in range(count):
                        w = weights[start + j]
                        # `said` holds w·(t − Dx) and `small` √w·D: the product needs √w·(t − Dx)
                        said[j] /= np.sqrt(w) if w > 0 else np.float32(1.0)
                add_combination(small, count, said, step)
            decrease = np.float32(0.0)
            factor(H)
            forward(H, step)
            for i in range(size):
                # ‖R⁻ᵀb‖² = bᵀH⁻¹b, by which the step lowers the objective
                decrease += step[i] * step[i]
            backward(H, step)
            for i in range(size):
                x[left + i] += step[i]
            loss -= decrease
        losses[row] = loss


@inner
def add_residuals(begin, end, known, x, residual, kept, shares):
    """Residual += Dᵀ w(t − Dx); returns Σ w (t − Dx)²."""
    _, indices, targets, weights, offsets, mean, table = known
    total = np.float32(0.0)
    for first in range(begin, end, kept.shape[0]):
        count = min(kept.shape[0], end - first)
        gather(kept, table, indices, first, count)
        dots(kept, count, x, shares)
        subtract_from_targets(first, count, indices, targets, offsets, mean, shares)
        total += weighed_squares(first, count, weights, shares)
        add_combination(kept, count, shares, residual)
    return total


@inner
def add_curvature(begin, end, known, x, product, kept, shares):
    """Product += Dᵀ w(Dx); if all factor rows fit into `kept`, they are there already."""
    _, indices, _, weights, _, _, table = known
    for first in range(begin, end, kept.shape[0]):
        count = min(kept.shape[0], end - first)
        if end - begin > kept.shape[0]:
            gather(kept, table, indices, first, count)
        dots(kept, count, x, shares)
        weigh(first, count, weights, shares)
        add_combination(kept, count, shares, product)


@Kernel
def conjugate_rows(
    first, last, steps, kept_rows, known, diagonal, typical, ridge, linear, X, losses
):
    """For each row, take steps that lower Σ w(t − Dx)² + xᵀ(diagonal + ridge)x − 2·linear·x.

    The preconditioner is the diagonal of the system if every D² were `typical`, the mean of D² over
    all entries. X holds the start and then the result of each row, and `losses` its value.
    """
    width = X.shape[1]
    starts = known[0]
    kept, shares = np.empty((kept_rows, width), np.float32), np.empty(kept_rows, np.float32)
    residual, search = np.empty(width, np.float32), np.empty(width, np.float32)
    product, inverse = np.empty(width, np.float32), np.empty(width, np.float32)
    for row in range(first, last):
        begin, end = starts[row], starts[row + 1]
        x = X[row]
        loss = 0.0
        for c in range(width):
            inverse[c] = diagonal[c] + ridge[row]
            residual[c] = -inverse[c] * x[c]
            loss -= x[c] * residual[c]
        if linear.shape[0] > 0:
            for c in range(width):
                residual[c] += linear[row, c]
                loss -= 2 * x[c] * linear[row, c]
        loss += add_residuals(begin, end, known, x, residual, kept, shares)
        along, weight = np.float32(0.0), total_weight(begin, end, known[3])
        for c in range(width):
            inverse[c] = np.float32(1.0) / (inverse[c] + weight * typical[c])
            search[c] = inverse[c] * residual[c]
            along += residual[c] * search[c]
        for _ in range(steps):
            # a row that is solved already: the next division would be 0/0
            if along <= np.float32(1e-30):
                break
            for c in range(width):
                product[c] = (diagonal[c] + ridge[row]) * search[c]
            add_curvature(begin, end, known, search, product, kept, shares)
            curvature = np.float32(0.0)
            for c in range(width):
                curvature += search[c] * product[c]
            size, before = along / curvature, along
            along = np.float32(0.0)
            for c in range(width):
                x[c] += size * search[c]
                residual[c] -= size * product[c]
                along += residual[c] * residual[c] * inverse[c]
            # a step of this size along the search direction lowers the objective by as much
            loss -= size * before
            share = along / before
            for c in range(width):
                search[c] = inverse[c] * residual[c] + share * search[c]
        losses[row] = loss


@Kernel
def nonnegative_rows(first, last, cycles, bounded, known, gram, ridge, linear, X, losses):
    """For each row, lower the objective of `exact_rows` over x ≥ 0, starting at the given x.

    Only the first `bounded` numbers must not be negative. Each coordinate in turn goes to the
    minimum along it, or to 0, until none moves or `cycles` are done.
    """
    width = X.shape[1]
    starts = known[0]
    H, right = np.empty((width, width), np.float32), np.empty(width, np.float32)
    slope = np.empty(width, np.float32)
    kept, shares = np.empty((AT_ONCE, width), np.float32), np.empty(AT_ONCE, np.float32)
    for row in range(first, last):
        x = X[row]
        clear(right)
        if linear.shape[0] > 0:
            for c in range(width):
                right[c] = linear[row, c]
        loss = assemble(
            starts[row], starts[row + 1], known, gram, ridge[row], H, right, kept, shares
        )
        # BLAS filled the upper triangle only, and the loops below read whole rows
        for i in range(width):
            for j in range(i):
                H[i, j] = H[j, i]
        for i in range(width):
            total = np.float32(0.0)
            for c in range(width):
                total += H[i, c] * x[c]
            slope[i] = total - right[i]
        for _ in range(cycles):
            moved = np.float32(0.0)
            for c in range(width):
                to = x[c] - slope[c] / H[c, c]
                if c < bounded and to < 0:
                    to = np.float32(0.0)
                change = to - x[c]
                if change != 0:
                    x[c] = to
                    moved += change * change * H[c, c]
                    along = H[c]
                    for i in range(width):
                        slope[i] += change * along[i]
            # the last cycle lowered the objective by less than float32 can show
            if moved <= np.float32(1e-10) * np.float32(loss):
                break
        for c in range(width):
            loss += x[c] * (slope[c] - right[c])
        losses[row] = loss


@Kernel
def sampled_rows(first, last, known, precision, linear, noise, X):
    """For each row, draw x ~ N(H⁻¹·right, H⁻¹/α) with H = precision + Σ w·DᵀD.

    Everything is divided by α, the precision of an entry. `linear` is the prior's part of the right
    side, the same for all rows; `noise` holds a draw of N(0, 1/α) for each number of X.

    Reference:
        Salakhutdinov, Mnih (2008), ICML, equations 11 to 13.
    """
    width = X.shape[1]
    starts = known[0]
    H = np.empty((width, width), np.float32)
    kept, shares = np.empty((AT_ONCE, width), np.float32), np.empty(AT_ONCE, np.float32)
    for row in range(first, last):
        x = X[row]
        for c in range(width):
            x[c] = linear[c]
        assemble(
            starts[row], starts[row + 1], known, precision, np.float32(0.0), H, x, kept, shares
        )
        factor(H)
        forward(H, x)
        # between the two triangular solves: R⁻¹·noise has the covariance H⁻¹/α
        for c in range(width):
            x[c] += noise[row, c]
        backward(H, x)
