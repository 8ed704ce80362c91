// What GET /v1/vaccines tells about a lot.
import { narrow } from "./coupon.js";

export const foldLot = lot => narrow(lot).replace(/[\s\-‐－ー]/g, "").toUpperCase();

/** Does the lot look like one of this product's?  Products without known forms fit anything. */
export function lotFits(product, lot) {
  const folded = foldLot(lot);
  return !product?.lots?.length || product.lots.some(l => folded.startsWith(l.prefix) && (!l.length || folded.length === l.length));
}

/** What a select of products shows: the one that was chosen, or the first. */
export const shownOf = (products, id) => products.find(p => p.id === id) ?? products[0];

/** The other makers whose lots look like this. */
export const makersOf = (products, lot) =>
  [...new Set(products.filter(p => p.lots?.length && lotFits(p, lot)).map(p => p.maker_ja))];
