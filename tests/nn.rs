//! Layers and networks against naive loops, finite differences, and themselves on other threads.

mod common;

use common::{THREADS, bits, close, message, network, noise, shallow};
use initcore::Error;
use initcore::nn::Run;
use initcore::nn::activation::Activation;
use initcore::nn::dense::{Gradients, Layer, error};
use initcore::nn::gemm::block_rows;
use initcore::nn::loss::{Evaluation, Loss, Targets, Truth};
use initcore::nn::mlp::Mlp;
use initcore::nn::pass::{Dataset, Workspace};
use initcore::nn::real::Real;
use initcore::parallel::NEVER;
use proptest::prelude::*;

/// `a b` for `a: (m, k)` and `b: (k, n)` given as functions of row and column.
fn naive(
    (m, n, k): (usize, usize, usize),
    a: impl Fn(usize, usize) -> f64,
    b: impl Fn(usize, usize) -> f64,
) -> Vec<f64> {
    let dot = |i, j| (0..k).map(|l| a(i, l) * b(l, j)).sum();
    (0..m * n).map(|at| dot(at / n, at % n)).collect()
}

/// Forward and backward of one layer against naive loops in f64.
fn check_layer<T: Real>(batch: usize, fan_in: usize, fan_out: usize, activation: Activation) {
    let what = format!("{} ({batch}, {fan_in}, {fan_out}) {activation}", T::NAME);
    let tolerance = T::epsilon().widen() * 4.0 * (fan_in.max(fan_out).max(batch) as f64 + 4.0);
    let x = noise::<T>(batch * fan_in, 1);
    let w = noise::<T>(fan_in * fan_out, 2);
    let b = noise::<T>(fan_out, 3);
    let dy = noise::<T>(batch * fan_out, 4);
    let layer = Layer { w: &w, b: Some(&b), fan_in, fan_out, activation };
    // Poisoned buffers: every element has to be written.
    let nan = || vec![T::nan(); batch * fan_out];
    let (mut z, mut y, mut slope, mut plain) = (nan(), nan(), nan(), nan());
    let affine = Layer { activation: Activation::Linear, ..layer };
    affine.forward(&x, batch, &mut z, None, Run::SERIAL).unwrap();
    layer.forward(&x, batch, &mut y, Some(&mut slope), Run::SERIAL).unwrap();
    layer.forward(&x, batch, &mut plain, None, Run::SERIAL).unwrap();
    assert_eq!(bits(&y), bits(&plain), "{what} with and without slopes");

    let shape = (batch, fan_out, fan_in);
    let mut want =
        naive(shape, |i, l| x[i * fan_in + l].widen(), |l, j| w[l * fan_out + j].widen());
    for (i, z) in want.iter_mut().enumerate() {
        *z += b[i % fan_out].widen();
    }
    close(&z, &want, tolerance, &format!("z of {what}"));
    let both: Vec<_> = z.iter().map(|z| activation.value_and_slope(z.widen())).collect();
    let (f, want): (Vec<_>, Vec<_>) = both.into_iter().unzip();
    close(&y, &f, tolerance, &format!("y of {what}"));
    close(&slope, &want, tolerance, &format!("slope of {what}"));

    let dz = error(&dy, &slope, Run::SERIAL).unwrap();
    let want: Vec<f64> = (0..dz.len()).map(|i| dy[i].widen() * slope[i].widen()).collect();
    close(&dz, &want, tolerance, &format!("dz of {what}"));
    let (mut dw, mut db) = (vec![T::nan(); w.len()], vec![T::nan(); fan_out]);
    let mut dx = vec![T::nan(); x.len()];
    let into = Gradients { dw: &mut dw, db: Some(&mut db), dx: Some(&mut dx) };
    layer.backward(&x, &dz, batch, into, Run::SERIAL).unwrap();
    let shape = (fan_in, fan_out, batch);
    let want = naive(shape, |i, l| x[l * fan_in + i].widen(), |l, j| dz[l * fan_out + j].widen());
    close(&dw, &want, tolerance, &format!("dw of {what}"));
    let want = naive((1, fan_out, batch), |_, _| 1.0, |l, j| dz[l * fan_out + j].widen());
    close(&db, &want, tolerance, &format!("db of {what}"));
    let shape = (batch, fan_in, fan_out);
    let want = naive(shape, |i, l| dz[i * fan_out + l].widen(), |l, j| w[j * fan_out + l].widen());
    close(&dx, &want, tolerance, &format!("dx of {what}"));
}

#[test]
fn layers_agree_with_naive_loops() {
    let sizes = [0, 1, 2, 3, 7, 13, 17, 64, 101];
    for (i, batch) in sizes.into_iter().enumerate() {
        for (j, fan_in) in sizes.into_iter().enumerate() {
            for (k, fan_out) in sizes.into_iter().enumerate() {
                let activation = Activation::ALL[(i + j + k) % Activation::ALL.len()];
                check_layer::<f32>(batch, fan_in, fan_out, activation);
                check_layer::<f64>(batch, fan_in, fan_out, activation);
            }
        }
    }
    // Cut into several blocks, the last one short.
    check_layer::<f32>(511, 157, 97, Activation::Tanh);
    assert!(block_rows(511, 97 * 157) < 511);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn layers_agree_with_naive_loops_at_any_shape(
        batch in 0_usize..150, fan_in in 0_usize..150, fan_out in 0_usize..150,
        which in 0..Activation::ALL.len(),
    ) {
        check_layer::<f32>(batch, fan_in, fan_out, Activation::ALL[which]);
        check_layer::<f64>(batch, fan_in, fan_out, Activation::ALL[which]);
    }
}

/// What goes into the activation of every layer, and what comes out of the last: layer by layer.
fn walk<T: Real>(mlp: &Mlp<T>, x: &[T], rows: usize) -> (Vec<Vec<T>>, Vec<T>) {
    let (mut zs, mut y) = (Vec::new(), x.to_vec());
    for shape in mlp.layers() {
        let b = shape.b.clone().map(|range| &mlp.values()[range]);
        let (fan_in, fan_out, w) = (shape.fan_in, shape.fan_out, &mlp.values()[shape.w.clone()]);
        let affine = Layer { w, b, fan_in, fan_out, activation: Activation::Linear };
        let mut z = vec![T::nan(); rows * fan_out];
        affine.forward(&y, rows, &mut z, None, Run::SERIAL).unwrap();
        y = z.iter().map(|&z| shape.activation.value(z)).collect();
        zs.push(z);
    }
    (zs, y)
}

const BATCH: usize = 3;

/// Loss and gradients, the value by the way.
fn gradients_at(mlp: &Mlp<f64>, data: &Dataset<'_, f64>, loss: Loss) -> (f64, Vec<f64>) {
    let mut workspace = Workspace::new(mlp, BATCH).unwrap();
    let Evaluation { loss: value, .. } =
        mlp.loss_and_grad(data, loss, &mut workspace, Run::SERIAL).unwrap();
    (value, workspace.gradients().to_vec())
}

/// Every gradient is within `1e-8 |slope| + 1e-10` of the five-point difference.
fn check_gradients(mut mlp: Mlp<f64>, data: &Dataset<'_, f64>, loss: Loss, what: &str) {
    const STEP: f64 = 1.0 / 2048.0;
    let (value, gradients) = gradients_at(&mlp, data, loss);
    let run = Run::SERIAL;
    let at = |mlp: &Mlp<f64>| mlp.evaluate(data.x, data.targets, BATCH, loss, run).unwrap().loss;
    assert!((at(&mlp) - value).abs() <= 1e-14 * value.abs(), "{what}");
    assert!(gradients.iter().any(|g| g.abs() > 1e-6), "{what}");
    for (i, gradient) in gradients.into_iter().enumerate() {
        let here = mlp.values()[i];
        let mut moved = |steps: f64| {
            mlp.values_mut()[i] = here + steps * STEP;
            at(&mlp)
        };
        let near = moved(1.0) - moved(-1.0);
        let far = moved(2.0) - moved(-2.0);
        mlp.values_mut()[i] = here;
        let slope = (8.0 * near - far) / (12.0 * STEP);
        let error = (slope - gradient).abs();
        assert!(
            error <= 1e-8 * slope.abs() + 1e-10,
            "{what} parameter {i}: {gradient}, not {slope}: {error:e}"
        );
    }
}

#[test]
fn gradients_agree_with_finite_differences() {
    let sizes = [4, 5, 3, 2];
    let labels = Targets::labels(&[1, 0, 1]);
    let values = Targets::values(&[0.25, 0.75, 1.0, 0.0, 0.5, 0.5]);
    let weights = [0.5, 2.0, 1.0];
    for (i, hidden) in Activation::ALL.into_iter().enumerate() {
        for (j, output) in Activation::ALL.into_iter().enumerate() {
            let between = Activation::ALL[(i + j + 1) % Activation::ALL.len()];
            let bias = [i % 2 == 0, j % 2 == 0, (i + j) % 3 > 0];
            // The first seed whose units all keep clear of a kink.
            let clear = |v: f64| [-1.0, 0.0, 1.0].iter().all(|kink| (v - kink).abs() > 5e-3);
            let found = (0..).find_map(|seed| {
                let mlp = network::<f64>(&sizes, &[hidden, between, output], &bias, 10 * seed);
                let x = noise::<f64>(BATCH * sizes[0], 77 + seed);
                let (zs, y) = walk(&mlp, &x, BATCH);
                let Truth::Values(t) = values.truth else { unreachable!() };
                let apart = y.iter().zip(t).all(|(y, t)| clear(y - t));
                (zs.concat().into_iter().all(clear) && apart).then_some((mlp, x))
            });
            let (mlp, x) = found.unwrap();
            for loss in Loss::ALL {
                for targets in [labels, values, values.weighted(&weights)] {
                    if loss.check(targets, BATCH, 2).is_err() {
                        continue;
                    }
                    let data = Dataset { x: &x, targets, rows: BATCH };
                    let what = format!("{hidden} {between} {output} {bias:?} {loss}");
                    check_gradients(mlp.clone(), &data, loss, &what);
                }
            }
        }
    }
}

/// A network that is cut into several blocks of rows, the last one short, with inputs and targets.
fn in_blocks<T: Real>(rows: usize) -> (Mlp<T>, Vec<T>, Vec<T>) {
    let sizes = [300, 260, 90, 5];
    let activations = [Activation::Tanh, Activation::Gelu, Activation::Linear];
    let mlp = network(&sizes, &activations, &[true, false, true], 1);
    let block = block_rows(rows, 260 * 300);
    assert!(block < rows / 3 && !rows.is_multiple_of(block), "not split, or evenly");
    (mlp, noise(rows * 300, 2), noise(rows * 5, 3))
}

#[test]
fn a_pass_has_the_same_bits_on_any_number_of_threads() {
    fn check<T: Real>() {
        const ROWS: usize = 401;
        let (mlp, x, t) = in_blocks::<T>(ROWS);
        let targets = Targets::values(&t);
        let results = THREADS.map(|threads| {
            let run = Run { threads, stop: NEVER };
            let mut y = vec![T::nan(); ROWS * 5];
            mlp.forward(&x, &mut y, ROWS, run).unwrap();
            let every = mlp.activations(&x, ROWS, run).unwrap();
            assert_eq!(bits(&every[2]), bits(&y), "outputs alone and those of every layer");
            let mut workspace = Workspace::new(&mlp, ROWS).unwrap();
            let data = Dataset { x: &x, targets, rows: ROWS };
            let loss = mlp.loss_and_grad(&data, Loss::Mse, &mut workspace, run).unwrap();
            let evaluated = mlp.evaluate(&x, targets, ROWS, Loss::Mse, run).unwrap();
            assert_eq!(loss, evaluated);
            let gradients = bits(workspace.gradients());
            (every.iter().map(|y| bits(y)).collect::<Vec<_>>(), gradients, loss.loss.to_bits())
        });
        assert!(results.iter().all(|r| *r == results[0]), "{}", T::NAME);
    }
    check::<f32>();
    check::<f64>();
}

/// Blocks of rows are the rows: outputs one by one, gradients as the sum of those of parts.
#[test]
fn blocks_of_rows_are_their_rows() {
    const ROWS: usize = 401;
    let (mlp, x, t) = in_blocks::<f64>(ROWS);
    let mut y = vec![f64::NAN; ROWS * 5];
    mlp.forward(&x, &mut y, ROWS, Run::SERIAL).unwrap();
    let block = block_rows(ROWS, 260 * 300);
    for row in [0, 1, block - 1, block, 2 * block + 1, ROWS - 1] {
        let mut one = [f64::NAN; 5];
        mlp.forward(&x[row * 300..][..300], &mut one, 1, Run::SERIAL).unwrap();
        close(&one, &y[row * 5..][..5], 1e-13, "a row alone");
    }
    let mut workspace = Workspace::new(&mlp, ROWS).unwrap();
    let mut gradients = |from: usize, rows: usize| {
        let (x, t) = (&x[from * 300..(from + rows) * 300], &t[from * 5..(from + rows) * 5]);
        let data = Dataset { x, targets: Targets::values(t), rows };
        mlp.loss_and_grad(&data, Loss::Mse, &mut workspace, Run::SERIAL).unwrap();
        workspace.gradients().iter().map(|g| g * rows as f64).collect::<Vec<_>>()
    };
    let whole = gradients(0, ROWS);
    // A workspace is good for fewer rows too, and keeps nothing of what it saw before.
    let mut sum = vec![0.0; whole.len()];
    for (from, rows) in [(0, 1), (1, block), (1 + block, 7), (8 + block, ROWS - 8 - block)] {
        for (sum, part) in sum.iter_mut().zip(gradients(from, rows)) {
            *sum += part;
        }
    }
    close(&whole, &sum, 1e-12, "gradients");
}

/// Batches in several blocks, whose products are added up: `dw = x^T dy`, `db = sum of dy`, element by element.
#[test]
fn gradients_over_blocks_agree_with_naive_sums() {
    fn check<T: Real>(rows: usize, fan_in: usize, fan_out: usize) {
        let what = format!("{} ({rows}, {fan_in}, {fan_out})", T::NAME);
        let mlp = network::<T>(&[fan_in, fan_out], &[Activation::Linear], &[true], 5);
        let (x, t) = (noise::<T>(rows * fan_in, 6), noise::<T>(rows * fan_out, 7));
        let targets = Targets::values(&t);
        let (mut y, mut dy) = (vec![T::nan(); t.len()], vec![T::nan(); t.len()]);
        mlp.forward(&x, &mut y, rows, Run::SERIAL).unwrap();
        Loss::Mse.evaluate(&y, targets, rows, fan_out, Some(&mut dy)).unwrap();
        let mut workspace = Workspace::new(&mlp, rows).unwrap();
        let data = Dataset { x: &x, targets, rows };
        mlp.loss_and_grad(&data, Loss::Mse, &mut workspace, Run::SERIAL).unwrap();
        let (dw, db) = workspace.gradients().split_at(fan_in * fan_out);
        // One rounding for each term of a block's sum, and one for each block or piece.
        let block = block_rows(rows, fan_out * fan_in);
        let roundings = block.min(256) + rows.div_ceil(block) + rows.div_ceil(256);
        let most = (0.51 * roundings as f64) * T::epsilon().widen() + rows as f64 * f64::EPSILON;
        let left = |i: usize, l: usize| x[l * fan_in + i].widen();
        let right = |l: usize, j: usize| dy[l * fan_out + j].widen();
        let shape = (fan_in, fan_out, rows);
        let sizes = naive(shape, |i, l| left(i, l).abs(), |l, j| right(l, j).abs());
        for ((got, want), size) in dw.iter().zip(naive(shape, left, right)).zip(sizes) {
            let error = (got.widen() - want).abs();
            assert!(error <= most * size, "{what}: {got} instead of {want}");
        }
        // In f64, then rounded once.
        let shape = (1, fan_out, rows);
        let sizes = naive(shape, |_, _| 1.0, |l, j| right(l, j).abs());
        for ((got, want), size) in db.iter().zip(naive(shape, |_, _| 1.0, right)).zip(sizes) {
            let error = (got.widen() - want).abs();
            let most = 0.51 * T::epsilon().widen() * want.abs() + rows as f64 * f64::EPSILON * size;
            assert!(error <= most, "{what}: {got} instead of {want}");
        }
    }
    assert!(block_rows(1500, 65 * 257) < 1500 / 3, "not split");
    check::<f32>(1500, 257, 65);
    check::<f64>(1500, 257, 65);
    check::<f32>(40_000, 3, 2);
    for rows in [1, 2, 3, 5, 17, 64, 65, 256, 257] {
        check::<f32>(rows, 40, 300);
    }
}

#[test]
fn parameters_are_laid_out_as_named() {
    let sizes = [3, 4, 2, 5];
    let activations = [Activation::Relu, Activation::Tanh, Activation::Linear];
    let found = |bias: &[bool]| {
        let mlp = Mlp::<f32>::new(&sizes, &activations, bias).unwrap();
        let end = mlp.parameters().last().unwrap().range.end;
        assert_eq!(mlp.values(), vec![0.0; end]);
        let used: Vec<_> = mlp.layers().iter().map(|layer| layer.activation).collect();
        assert_eq!(used, activations);
        mlp.parameters().into_iter().map(|p| (p.name, p.shape, p.range)).collect::<Vec<_>>()
    };
    let named = |name: &str, shape: &[usize], range| (name.to_owned(), shape.to_vec(), range);
    assert_eq!(
        found(&[true, true, true]),
        [
            named("layers.0.weight", &[3, 4], 0..12),
            named("layers.0.bias", &[4], 12..16),
            named("layers.1.weight", &[4, 2], 16..24),
            named("layers.1.bias", &[2], 24..26),
            named("layers.2.weight", &[2, 5], 26..36),
            named("layers.2.bias", &[5], 36..41),
        ]
    );
    assert_eq!(
        found(&[false, true, false]),
        [
            named("layers.0.weight", &[3, 4], 0..12),
            named("layers.1.weight", &[4, 2], 12..20),
            named("layers.1.bias", &[2], 20..22),
            named("layers.2.weight", &[2, 5], 22..32),
        ]
    );
}

#[test]
fn each_layer_has_its_own_activation_and_bias() {
    const ROWS: usize = 9;
    let all = Activation::ALL;
    for (i, &first) in all.iter().enumerate() {
        let activations = [first, all[(i + 3) % all.len()], all[(i + 7) % all.len()]];
        let bias = [i % 2 == 0, i % 3 == 0, i % 2 == 1];
        let mlp = network::<f64>(&[3, 4, 6, 2], &activations, &bias, i as u64);
        let x = noise::<f64>(ROWS * 3, 8);
        let ys = mlp.activations(&x, ROWS, Run::SERIAL).unwrap();
        let (zs, y) = walk(&mlp, &x, ROWS);
        for (i, z) in zs.iter().enumerate() {
            let want: Vec<_> = z.iter().map(|&z| activations[i].value(z)).collect();
            close(&ys[i], &want, 1e-13, "outputs of a layer");
        }
        close(&ys[2], &y, 1e-13, "outputs");
        let mut last = vec![f64::NAN; ROWS * 2];
        mlp.forward(&x, &mut last, ROWS, Run::SERIAL).unwrap();
        assert_eq!(bits(&last), bits(&ys[2]));
    }
}

#[test]
fn bad_networks_are_refused() {
    use Activation::{LeakyRelu, Linear, Relu};
    let refused = |sizes: &[usize], activations: &[Activation], bias: &[bool]| {
        message(Mlp::<f32>::new(sizes, activations, bias))
    };
    assert!(refused(&[3], &[], &[]).contains("[3]"));
    assert!(refused(&[3, 0, 1], &[Relu, Linear], &[true; 2]).contains("[3, 0, 1]"));
    let text = refused(&[3, 2, 1], &[Relu], &[true; 2]);
    assert_eq!(text, "activation has 1 entries, but sizes [3, 2, 1] make 2 layers");
    let text = refused(&[3, 2, 1], &[Relu; 2], &[true; 3]);
    assert_eq!(text, "bias has 3 entries, but sizes [3, 2, 1] make 2 layers");
    let steep = LeakyRelu { negative_slope: f64::NAN };
    assert!(refused(&[3, 2, 1], &[steep, Linear], &[true; 2]).contains("finite negative_slope"));
    let endless = Mlp::<f32>::new(&[usize::MAX / 2, 3, 1], &[Relu; 2], &[true; 2]);
    assert!(matches!(endless, Err(Error::TooLarge(_))), "{endless:?}");
    let endless = Mlp::<f32>::new(&[usize::MAX / 2, 1, usize::MAX / 2 + 2], &[Relu; 2], &[true; 2]);
    assert!(matches!(endless, Err(Error::TooLarge(_))), "{endless:?}");
}

#[test]
fn bad_passes_are_refused_before_anything_is_written() {
    let mlp = shallow::<f32>([2, 3, 1], Activation::Relu, 3);
    let (x, t) = ([0.5_f32; 8], [0.0_f32; 4]);
    let mut y = [7.0; 4];
    let text = message(mlp.forward(&x, &mut y, 3, Run::SERIAL));
    assert!(text.contains("x must have shape (3, 2), got 8"), "{text}");
    let text = message(mlp.forward(&x, &mut y[..3], 4, Run::SERIAL));
    assert!(text.contains("y must have shape (4, 1), got 3"), "{text}");
    assert_eq!(y, [7.0; 4]);
    message(mlp.activations(&x, 3, Run::SERIAL));
    message(mlp.evaluate(&x, Targets::values(&t), 3, Loss::Mse, Run::SERIAL));

    let data = Dataset { x: &x, targets: Targets::values(&t), rows: 4 };
    let refused = |mlp: &Mlp<f32>, workspace: &mut Workspace<f32>, data: &Dataset<'_, f32>| {
        let before = bits(workspace.gradients());
        let text = message(mlp.loss_and_grad(data, Loss::Mse, workspace, Run::SERIAL));
        assert_eq!(bits(workspace.gradients()), before);
        text
    };
    let mut small = Workspace::new(&mlp, 2).unwrap();
    let text = refused(&mlp, &mut small, &data);
    assert!(text.contains("up to 2 rows through 2 layers, got 4 rows through 2"), "{text}");
    let mut workspace = Workspace::new(&mlp, 4).unwrap();
    mlp.loss_and_grad(&data, Loss::Mse, &mut workspace, Run::SERIAL).unwrap();
    let others = [
        shallow::<f32>([2, 4, 1], Activation::Relu, 3),
        shallow::<f32>([2, 3, 1], Activation::Tanh, 3),
        network::<f32>(&[2, 3, 1], &[Activation::Relu, Activation::Linear], &[true, false], 3),
        network::<f32>(&[2, 1], &[Activation::Relu], &[true], 3),
    ];
    for other in others {
        let text = refused(&other, &mut workspace, &data);
        assert!(text.contains("workspace is for"), "{text}");
    }
    let text = refused(&mlp, &mut workspace, &Dataset { x: &x[1..], ..data });
    assert!(text.contains("x must have shape (4, 2), got 7"), "{text}");
    let empty = Dataset { x: &[], targets: Targets::labels(&[]), rows: 0 };
    assert!(refused(&mlp, &mut workspace, &empty).contains("at least one row"));
    let weights = [1.0, -1.0, 0.0, 1.0];
    let negative = Dataset { targets: data.targets.weighted(&weights), ..data };
    assert!(refused(&mlp, &mut workspace, &negative).contains("-1"));
}
